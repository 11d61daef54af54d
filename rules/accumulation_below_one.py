"""Gradient accumulation over zero batches or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, written_number

CODE = "KT437"
NAME = "accumulation-below-one"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    written = written_number(job, "TrainingArguments", "gradient_accumulation_steps")
    if written is None or written.value >= 1:
        return
    effect = AFTER_LOADING if written.value == 0 else "no step is trained, and the job succeeds without a result"
    yield Fault(
        job.place_of(written.option),
        f"`gradient_accumulation_steps` must be at least 1, not {written.text}: {effect}",
        help="write 1 for no accumulation",
    )
