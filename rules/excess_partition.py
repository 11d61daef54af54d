"""A partition of more GPUs than a node has."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT747"
NAME = "excess-partition"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a `partition.count` above the GPUs of the instance type."""
    resource = job.view.resource if job.view is not None else None
    if resource is None or job.num_gpus is None:
        return
    count = resource.given("partition", "count")
    text = count.text if count is not None else None
    if count is None or text is None or not text.isdigit() or int(text) <= job.num_gpus:
        return
    message = f"`partition.count: {text}` exceeds the {job.num_gpus} GPUs of a node: Kaito starts no pod"
    yield Fault(count.value, message, help=f"write at most {job.num_gpus}")
