"""A model that leaves no GPU memory for the KV cache."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.footprint import ServingFault
from kaitoc.rules._serving import STOPS
from kaitoc.rules._serving_memory import larger_hint, refused_footprint, utilization_place

CODE = "KT740"
NAME = "exhausted-gpu-memory"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server whose weights and profiling peak take more than vLLM may have of a GPU."""
    footprint = refused_footprint(job, ServingFault.NO_CACHE)
    if footprint is None:
        return
    rank, gpu = footprint.tightest, footprint.gpu
    weights, peak = format_gib(rank.weights_bytes + rank.slots_bytes), format_gib(rank.peak_bytes)
    message = (
        f"{footprint.workload.model.name} leaves no memory for the KV cache: each GPU needs {weights} for weights and "
        f"{peak} for a full batch, and vLLM may take {format_gib(rank.requested_bytes)}"
        f"{f' of {gpu.name}' if gpu is not None else ''}; {STOPS}"
    )
    yield Fault(utilization_place(job), message, help=larger_hint(job))
