"""An option that needs another, which is not set."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under

CODE = "KT460"
NAME = "unmet-requirement"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield an option whose partner is missing or excludes it."""
    yield from faults_under(job, CODE)
