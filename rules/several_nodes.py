"""A tuning Workspace that asks for several nodes."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Edit, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.yaml.kubernetes import json_content

CODE = "KT307"
NAME = "several-nodes"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("resource", "count")
    count = json_content(field.node).value if field is not None else None
    if field is None or not isinstance(count, int) or count <= 1:
        return
    yield Fault(
        field.value,
        f"tuning runs on one node; Kaito's webhook refuses `count: {count}`",
        help="use an instance type with more GPUs, each of which trains on its own part of the data, or run "
        "`kaitoc compile --emit trainjob`, whose manifests train on several nodes without Kaito",
        fix=Fix("Use one node", Applicability.UNSAFE, (Edit(field.value.source, field.value.span, "1"),)),
    )
