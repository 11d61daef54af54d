"""A LoRA rank of zero or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, written_number

CODE = "KT433"
NAME = "rank-below-one"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    written = written_number(job, "LoraConfig", "r")
    if written is None or written.value >= 1:
        return
    yield Fault(
        job.place_of(written.option),
        f"`r`, the adapter's rank, must be at least 1, not {written.text}: {AFTER_LOADING}",
        help="write 8, Kaito's default, or 16",
    )
