"""A value that looks like a command-line option."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT209"
NAME = "dash-leading-value"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    stops: dict[Option, bool] = {}
    for option, problem in problems_of(job, ArgProblemKind.DASH_LEADING):
        stops[option] = stops.get(option, False) or problem.is_fatal
    for option, is_fatal in stops.items():
        outcome = STOPS if is_fatal else "it sets that option, and the job goes on"
        yield Fault(
            job.place_of(option),
            f"the value of `{option.name}` begins with a dash, so the parser takes it for an option; {outcome}",
            help="write it without the dash, or a negative number as digits (`-0.001`, not `-1e-3`)",
            severity=None if is_fatal else Severity.WARNING,
        )
