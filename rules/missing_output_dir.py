"""No `output_dir`: results are written where nothing is mounted."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    canonical_output_dir,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT419"
NAME = "missing-output-dir"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the runtime's default folder is not the one that Kaito mounts."""
    if not is_on_kaito(job) or not job.parsed or job.option("TrainingArguments", "output_dir") is not None:
        return
    section = job.config.section("TrainingArguments") if job.config is not None else None
    if section is not None and not section.is_mapping:
        return
    folder = canonical_output_dir(None)
    yield Fault(
        job.section_place("TrainingArguments"),
        "no `output_dir`: Kaito mounts /mnt/output but the runtime writes to /workspace/trainer_output; the results "
        "are lost, and an image output waits for them forever",
        help=f"write `output_dir: {folder}`",
        fix=setting_fix(job, "TrainingArguments", "output_dir", folder, f"Write to {folder}", Applicability.SAFE),
    )
