"""A learning rate of zero or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.rules._hazards import AFTER_LOADING, written_number
from kaitoc.rules._libraries import libraries_of

CODE = "KT435"
NAME = "non-positive-learning-rate"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when no step can go downhill."""
    written = written_number(job, "TrainingArguments", "learning_rate")
    if written is None or written.value > 0:
        return
    takes_it = written.value < 0 and _takes_any_rate(job)
    yield Fault(
        job.place_of(written.option),
        f"`learning_rate: {written.text}` {_effect(written.value, takes_it=takes_it)}",
        severity=Severity.WARNING if takes_it else None,
        help="write 2.0e-4, as the QLoRA paper does for models up to 13B, or leave it out",
    )


def _takes_any_rate(job: Job) -> bool:
    """Whether the optimizer takes a negative rate too, as Adafactor does; most refuse it."""
    optimizer = libraries_of(job).optimizers.get(str(optimizer_name(job)))
    return optimizer is not None and not optimizer.refusal and "learning_rate" not in optimizer.ranges


def _effect(rate: float, *, takes_it: bool) -> str:
    if not rate < 0:
        return "changes no parameter"
    if takes_it:
        return "maximises the loss instead of minimising it"
    return f"is refused by the optimizer: {AFTER_LOADING}"
