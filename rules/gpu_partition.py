"""A tuning Workspace that asks for a part of a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job

CODE = "KT308"
NAME = "gpu-partition"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    field = workspace.given("resource", "partition")
    if field is not None:
        message = "tuning cannot run on a GPU partition; Kaito's webhook refuses `partition`"
        yield Fault(field.key, message, help="remove `partition`, or use it for inference")
