"""A list of several elements where one value belongs."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._problems import STOPS, len_of, problems_of

CODE = "KT208"
NAME = "list-for-scalar"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.LIST_FOR_SCALAR):
        yield Fault(
            job.place_of(option),
            f"`{problem.key}` takes {problem.expectation}, and this list has {len_of(option)} elements; {STOPS}",
            help="keep one of them",
        )
