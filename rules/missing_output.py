"""A tuning Workspace without `tuning.output`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._places import lacking

CODE = "KT312"
NAME = "missing-output"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    yield from lacking(
        job.workspace, "output", help="say where the adapter goes: `image` with `imagePushSecret`, or `volumeSource`"
    )
