"""A batch size of zero or less."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import (
    evaluates_at_all,
)
from kaitoc.rules._hazards import AFTER_LOADING, written_number

CODE = "KT436"
NAME = "batch-below-one"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_NAMES = ("per_device_train_batch_size", "per_device_eval_batch_size")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each batch size below 1."""
    for name in _NAMES:
        written = written_number(job, "TrainingArguments", name)
        if written is None or written.value >= 1 or (name == _NAMES[1] and not evaluates_at_all(job)):
            continue
        yield Fault(
            job.place_of(written.option),
            f"`{name}` must be at least 1, not {written.text}: {AFTER_LOADING}",
            help="write 1",
        )
