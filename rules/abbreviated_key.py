"""An abbreviated key."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.rules._fixes import renaming
from kaitoc.rules._problems import problems_of

CODE = "KT210"
NAME = "abbreviated-key"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    for option, problem in problems_of(job, ArgProblemKind.ABBREVIATED_KEY):
        yield Fault(
            option.key if not job.uses_template else job.config_place,
            f"`{option.name}` is short for `{problem.key}`; the webhook does not know it, and a later release "
            "may add another key with this prefix",
            help=f"write `{problem.key}`",
            fix=renaming(job, option, problem.suggestion, Applicability.SAFE),
        )
