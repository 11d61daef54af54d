"""A share of the GPU that leaves no room for the CUDA context."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.serving.footprint import ServingFault
from kaitoc.rules._serving import STOPS
from kaitoc.rules._serving_memory import refused_footprint

CODE = "KT742"
NAME = "excess-utilization"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a `gpu-memory-utilization` above what is free once the driver and NCCL have their part."""
    footprint = refused_footprint(job, ServingFault.UTILIZATION)
    option = job.option_of("gpu-memory-utilization")
    if footprint is None or option is None or footprint.gpu is None:
        return
    rank, total = footprint.tightest, footprint.gpu.memory_bytes
    free = total - rank.outside_bytes
    message = (
        f"`gpu-memory-utilization: {option.plain}` asks for {format_gib(rank.requested_bytes)} of "
        f"{footprint.gpu.name}, of which {format_gib(free)} are free once CUDA and NCCL are loaded; {STOPS}"
    )
    yield Fault(option.value, message, help=f"write at most {int(free / total * 100) / 100:.2f}")
