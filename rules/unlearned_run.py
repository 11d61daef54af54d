"""A run that succeeds without learning anything."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under

CODE = "KT467"
NAME = "unlearned-run"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield an option with which no weight changes, or every weight becomes NaN."""
    yield from faults_under(job, CODE)
