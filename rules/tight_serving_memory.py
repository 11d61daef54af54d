"""A server that starts only if the estimate errs on the high side."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.uncounted import uncounted
from kaitoc.rules._serving_memory import footprint_of, utilization_place

CODE = "KT743"
NAME = "tight-serving-memory"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server whose KV cache, or whose CUDA graphs beside it, may not fit."""
    footprint = footprint_of(job)
    if footprint is None or footprint.verdict is not Verdict.TIGHT:
        return
    rank = footprint.tightest
    low, high = format_gib(max(0, rank.low_available_bytes)), format_gib(max(0, rank.high_available_bytes))
    message = f"{footprint.workload.model.name} barely fits: between {low} and {high} are left for the KV cache"
    left_out = "; ".join(uncounted(footprint))
    message += f"; not counted: {left_out}" if left_out else ""
    yield Fault(
        utilization_place(job), message, help="lower `max-num-seqs`, `max-num-batched-tokens` or `max-model-len`"
    )
