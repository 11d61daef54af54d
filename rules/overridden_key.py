"""A key that another spelling of it overrides."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._problems import problems_of

CODE = "KT215"
NAME = "overridden-key"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.OVERRIDDEN):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{option.name}` has no effect: `{problem.key}` is set again further down",
            help="keep one of the two",
        )
