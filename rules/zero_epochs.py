"""A number of epochs of zero or less: nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import written_number

CODE = "KT441"
NAME = "zero-epochs"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the run ends before its first step."""
    written = written_number(job, "TrainingArguments", "num_train_epochs")
    if written is None or written.value > 0 or job.integer("TrainingArguments", "max_steps", -1) > 0:
        return
    yield Fault(
        job.place_of(written.option),
        f"`num_train_epochs: {written.text}` trains nothing, and the run reports success with an untrained adapter",
        help="write 1 or more, or `max_steps` for a short run",
    )
