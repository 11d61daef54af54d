"""A `max_steps` of zero, which does not limit anything."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import written_number

CODE = "KT440"
NAME = "ineffective-max-steps"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_STEADY = ("constant", "constant_with_warmup", "reduce_lr_on_plateau", "greedy")
"""Schedulers whose first step has a rate above zero, though the run has no steps by number."""


def check(job: Job) -> Iterator[Fault]:
    written = written_number(job, "TrainingArguments", "max_steps")
    if written is None or written.value != 0:
        return
    keeps_rate = job.value("TrainingArguments", "lr_scheduler_type") in _STEADY
    effect = "the job succeeds" if keeps_rate else "at a learning rate of zero: the job succeeds and learns nothing"
    yield Fault(
        job.place_of(written.option),
        f"`max_steps: 0` trains one step, whatever `num_train_epochs` says; {effect}"
        if keeps_rate
        else f"`max_steps: 0` trains one step, whatever `num_train_epochs` says, {effect}",
        help="leave it out, or write the number of steps",
        severity=Severity.WARNING if keeps_rate else None,
    )
