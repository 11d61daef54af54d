"""A learning rate of zero or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, written_number

CODE = "KT435"
NAME = "non-positive-learning-rate"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when no step can go downhill."""
    found = written_number(job, "TrainingArguments", "learning_rate")
    if found is None or found.value > 0:
        return
    effect = f"is refused by the optimizer: {AFTER_LOADING}" if found.value < 0 else "changes no parameter"
    yield Fault(
        job.place_of(found.option),
        f"`learning_rate: {found.text}` {effect}",
        help="write 2.0e-4, as the QLoRA paper does for models up to 13B, or leave it out",
    )
