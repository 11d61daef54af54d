"""An absolute `output_dir` outside /mnt, whose results are lost."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    canonical_output_dir,
)
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._output_dir import MOUNT_ROOT, mounted_at, written_output_dir

CODE = "KT417"
NAME = "unmounted-output-dir"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the runtime writes to a folder that is not the mounted one."""
    output_dir = written_output_dir(job)
    if output_dir is None or not output_dir[1].startswith("/"):
        return
    option, written = output_dir
    path = posixpath.normpath(written)
    if path == MOUNT_ROOT or path.startswith(f"{MOUNT_ROOT}/"):
        return
    if written.startswith(MOUNT_ROOT):
        yield _beside_mnt(job, option, written, path)
        return
    folder = canonical_output_dir(written)
    yield Fault(
        job.place_of(option),
        f"`output_dir: {written}` is not below /mnt: Kaito mounts {mounted_at(written)} but the runtime writes to "
        f"{path}; the results are lost, and an image output waits for them forever",
        help=f"write `output_dir: {folder}`",
        fix=setting_fix(job, "TrainingArguments", "output_dir", folder, f"Write to {folder}", Applicability.SAFE),
    )


def _beside_mnt(job: Job, option: Option, written: str, path: str) -> Fault:
    """Describe a path that begins with the letters /mnt but is not below that folder."""
    if path.startswith(MOUNT_ROOT):
        return Fault(
            job.place_of(option),
            f"`output_dir: {written}` is not below /mnt; it passes only because Kaito compares the prefix",
            help=f"write `output_dir: {canonical_output_dir(None)}`",
            severity=Severity.INFO,
        )
    return Fault(
        job.place_of(option),
        f"`output_dir: {written}` is {path}, outside /mnt: Kaito's controller refuses it after the GPU node was "
        "provisioned, and the job is never created",
        help=f"write `output_dir: {canonical_output_dir(None)}`",
    )
