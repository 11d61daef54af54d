"""A value that is not among a key's choices."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._problems import STOPS, closest_choice, problems_of

CODE = "KT204"
NAME = "invalid-choice"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.INVALID_CHOICE):
        yield Fault(
            job.place_of(option),
            f"`{problem.key}` must be {problem.expectation}; {STOPS}",
            help=closest_choice(option, problem),
        )
