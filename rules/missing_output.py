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
    workspace = job.workspace
    if workspace is None:
        return
    if workspace.given("tuning", "output") is not None:
        return
    nearest = workspace.field("tuning", "output") or workspace.field("tuning")
    place = nearest.key if nearest is not None else workspace.place
    yield Fault(
        place,
        "the Workspace has no `tuning.output`; the API server refuses it",
        help="say where the adapter goes: `image` with `imagePushSecret`, or `volumeSource`",
    )
