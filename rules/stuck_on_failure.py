"""An image as output: a run that fails keeps its GPU."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT415"
NAME = "stuck-on-failure"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a sidecar waits for results, which a crashed run never writes."""
    image = job.workspace.field("tuning", "output", "image") if job.workspace is not None else None
    if image is None or not image.text or not is_on_kaito(job):
        return
    yield Fault(
        image.value,
        "if training crashes, the Workspace stays Running and its GPU node keeps billing: the push sidecar waits for "
        "results forever",
        help="watch the first minutes of the log, or use a volume output; then a failed Job ends",
    )
