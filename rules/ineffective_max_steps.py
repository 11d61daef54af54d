"""A `max_steps` of zero, which does not limit anything."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import written_number

CODE = "KT440"
NAME = "ineffective-max-steps"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the number is out of range."""
    found = written_number(job, "TrainingArguments", "max_steps")
    if found is None or found.value != 0:
        return
    yield Fault(
        job.place_of(found.option),
        "`max_steps: 0` does not stop the run: only values above 0 count, so it trains for `num_train_epochs`",
        help="leave it out, or write the number of steps",
    )
