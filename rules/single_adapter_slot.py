"""Several adapters that take turns in one slot."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob

CODE = "KT748"
NAME = "single-adapter-slot"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield adapters of which more are served than `max-loras` holds, whose default is one."""
    view = job.view
    adapters = view.adapters if view is not None else ()
    if view is None or len(adapters) < 2 or not job.uses_vllm or not job.parsed.is_accepted:
        return
    served = job.parsed.values.get("max-loras")
    slots = served.value if served is not None and isinstance(served.value, int) else 1
    if slots >= len(adapters):
        return
    held = "one adapter is held" if slots == 1 else f"{slots} adapters are held"
    message = (
        f"{len(adapters)} adapters and `max-loras: {slots}`: {held} at a time, the others are loaded at every switch"
    )
    yield Fault(view.inference.fields("adapters")[0].value, message, help=f"write `max-loras: {len(adapters)}`")
