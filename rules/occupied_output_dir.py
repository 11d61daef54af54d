"""An `output_dir` where Kaito already mounts something else."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    canonical_output_dir,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._output_dir import MOUNT_ROOT, mounted_at, written_output_dir

CODE = "KT418"
NAME = "occupied-output-dir"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"

_OCCUPIED = {"/mnt/data": "the data", "/mnt/config": "the configuration"}


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when results would be mounted over /mnt itself, the data or the configuration."""
    output_dir = written_output_dir(job)
    if output_dir is None or not output_dir[1].startswith("/mnt"):
        return
    option, written = output_dir
    path = mounted_at(written)
    effect, severity = _effect(path)
    if not effect:
        return
    folder = canonical_output_dir(None)
    yield Fault(
        job.place_of(option),
        f"`output_dir: {written}` {effect}",
        help=f"write a folder of its own, such as `{folder}`",
        fix=setting_fix(job, "TrainingArguments", "output_dir", folder, f"Write to {folder}", Applicability.UNSAFE),
        severity=severity,
    )


def _effect(path: str) -> tuple[str, Severity]:
    if path == MOUNT_ROOT:
        refused = "is not a folder below /mnt: Kaito's controller refuses it after the GPU node was provisioned"
        return f"{refused}, and the job is never created", Severity.ERROR
    if path in _OCCUPIED:
        return f"is where {_OCCUPIED[path]} is mounted: Kubernetes refuses two mounts at one path", Severity.ERROR
    if path.startswith("/mnt/config/"):
        return "is inside the read-only mount of the configuration, where nothing can be mounted", Severity.WARNING
    return "", Severity.ERROR
