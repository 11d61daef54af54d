"""A tuning Workspace without an instance type."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT306"
NAME = "missing-instance-type"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.field("resource", "instanceType")
    if job.instance_type is not None or (field is not None and field.text):
        return
    resource = workspace.field("resource")
    place = field.key if field is not None else (resource.key if resource is not None else workspace.place)
    yield Fault(
        place,
        "the Workspace names no `resource.instanceType`; Kaito's webhook refuses it, and on nodes you bring yourself "
        "tuning cannot run at all",
        help="name an instance type with an NVIDIA GPU, such as Standard_NC24ads_A100_v4",
    )
