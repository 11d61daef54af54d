"""A run that needs the hub and is not signed in."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under

CODE = "KT474"
NAME = "unreachable-hub"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield an option that makes the run talk to the hub without a token."""
    yield from faults_under(job, CODE)
