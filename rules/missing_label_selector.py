"""A Workspace without a label selector."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT322"
NAME = "missing-label-selector"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a Workspace without a label selector."""
    workspace = job.workspace
    if workspace is None:
        return
    if workspace.field("resource", "labelSelector") is not None:
        return
    resource = workspace.field("resource")
    yield Fault(
        resource.key if resource is not None else workspace.place,
        "the Workspace has no `resource.labelSelector`, which the API server requires",
        help="write `labelSelector: {matchLabels: {apps: NAME}}`; Kaito labels its nodes so",
    )
