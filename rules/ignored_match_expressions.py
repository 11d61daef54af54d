"""A label selector whose expressions tuning ignores."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT323"
NAME = "ignored-match-expressions"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("resource", "labelSelector", "matchExpressions")
    if field is not None:
        yield Fault(
            field.key,
            "tuning jobs are scheduled by `matchLabels` only; `matchExpressions` are ignored",
            help="express the requirement as `matchLabels`",
        )
