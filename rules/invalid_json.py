"""Text in braces that is not JSON, under a key that takes JSON."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.kaito.arguments import ProblemKind
from kaitoc.rules._problems import STOPS, problems_of

CODE = "KT213"
NAME = "invalid-json"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield text in braces that is not JSON, under a key that takes JSON."""
    for option, problem in problems_of(job, ProblemKind.INVALID_JSON):
        yield Fault(
            job.place_of(option),
            f"the text of `{problem.key}` begins with a brace but is not JSON; {STOPS}",
            help="JSON has its names and texts in double quotes",
        )
