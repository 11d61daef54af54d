"""A tuning Workspace without `tuning.output`."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT312"
NAME = "missing-output"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a tuning Workspace without `tuning.output`."""
    workspace = job.workspace
    if workspace is None:
        return
    if workspace.field("tuning", "output") is not None:
        return
    tuning = workspace.field("tuning")
    place = tuning.key if tuning is not None else workspace.place
    yield Fault(
        place,
        "the Workspace has no `tuning.output`; Kaito's webhook refuses it",
        help="say where the adapter goes: `image` with `imagePushSecret`, or `volumeSource`",
    )
