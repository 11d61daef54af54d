"""An instance type without an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._instances import without_nvidia

CODE = "KT321"
NAME = "non-nvidia-instance-type"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    workspace = job.workspace
    if workspace is None:
        return
    stated = job.instance_type
    instance = find_instance_type(stated.value) if stated is not None else None
    if stated is None or stated.place is None or instance is None:
        return
    fault = without_nvidia(instance, stated.place, "the tuning pod")
    if fault is not None:
        yield fault
