"""A number that the libraries refuse, though the parser takes it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.rules._conditions import ARGUMENTS, faults_under, stage_effect, written
from kaitoc.rules._hazards import is_on_kaito, written_number

CODE = "KT461"
NAME = "number-out-of-range"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_OPTIMIZER_KEYS = ("adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay")
"""What an optimizer gets of the configuration; `learning_rate` has a rule of its own."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a number outside the range in which a run can start."""
    yield from faults_under(job, CODE)
    if any(job.option(ARGUMENTS, key) is not None for key in _OPTIMIZER_KEYS) and is_on_kaito(job):
        yield from _beyond_the_optimizer(job)


def _beyond_the_optimizer(job: Job) -> Iterator[Fault]:
    """Yield a number that the constructor of the job's optimizer refuses."""
    from kaitoc.rules._libraries import libraries_of  # only written numbers of the optimizer need it

    name = optimizer_name(job)
    optimizer = libraries_of(job).optimizers.get(str(name))
    for key in _OPTIMIZER_KEYS:
        found = written_number(job, ARGUMENTS, key)
        bounds = optimizer.ranges.get(key) if optimizer is not None else None
        if found is None or bounds is None or bounds.take(found.value):
            continue
        yield Fault(
            job.place_of(found.option),
            f"{written(found.option)} is not {bounds.text}, as {name} requires; {stage_effect('optimizer')}",
            help="leave it out for the default",
        )
