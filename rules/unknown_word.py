"""A word that the parser accepts as text but no library knows."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under

CODE = "KT462"
NAME = "unknown-word"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a word that stops the run where it is first looked up."""
    yield from faults_under(job, CODE)
