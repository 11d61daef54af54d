"""An empty list."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._fixes import removal
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT206"
NAME = "empty-list"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, _ in problems_of(job, ArgProblemKind.EMPTY_LIST):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{option.name}` is an empty list, which leaves its option without a value; {STOPS}",
            help="leave the key out for the default",
            fix=removal(job, option, Applicability.SAFE),
        )
