"""An option that is accepted and has no effect."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import faults_under

CODE = "KT469"
NAME = "ineffective-option"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield an option that nothing reads under the others."""
    yield from faults_under(job, CODE)
