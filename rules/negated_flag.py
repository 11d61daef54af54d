"""A `no_` switch of the command line used as a key."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._problems import STOPS, negation, problems_of

CODE = "KT212"
NAME = "negated-flag"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.NEGATED_FLAG):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{option.name}` is the command line's switch for `{problem.key}: false` and takes no value; {STOPS}",
            help=f"write `{problem.key}: false` instead",
            fix=negation(job, option, problem),
        )
