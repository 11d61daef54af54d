"""A key that cannot be set from a file."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._fixes import removal
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT214"
NAME = "unsettable-key"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.UNREADABLE_ARGUMENT):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{problem.key}` cannot be set: the parser has no way to read a value for it; {STOPS}",
            help="leave the key out",
            fix=removal(job, option, Applicability.UNSAFE),
        )
