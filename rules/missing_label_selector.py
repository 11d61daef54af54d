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
    workspace = job.workspace
    if workspace is None:
        return
    if workspace.given("resource", "labelSelector") is not None:
        return
    nearest = workspace.field("resource", "labelSelector") or workspace.field("resource")
    if workspace.given("resource") is None:
        message = "the Workspace has no `resource`; Kaito's webhook cannot validate it and refuses it"
    else:
        message = "the Workspace has no `resource.labelSelector`; the API server refuses it"
    yield Fault(
        nearest.key if nearest is not None else workspace.place,
        message,
        help="write `labelSelector: {matchLabels: {apps: NAME}}`; Kaito puts this label on its nodes",
    )
