"""A context for which Kaito's estimator refuses to start a node."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.rules._serving_memory import gpu_place

CODE = "KT745"
NAME = "refused-node-estimate"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server for which Kaito sets aside more of each GPU than it may use, before any weights."""
    kaito = serving_memory(job).kaito
    if kaito is None or kaito.num_nodes is not None:
        return
    option = job.option_of("max-model-len")
    message = (
        f"Kaito refuses to start a node: for {kaito.length_tokens:,} tokens it reserves "
        f"{format_gib(kaito.reserved_bytes)} of each GPU, and expects {format_gib(kaito.available_bytes)} to be free"
    )
    yield Fault(option.value if option is not None else gpu_place(job), message, help="lower max-model-len, or use an "
                "instance type with larger GPUs")  # fmt: skip
