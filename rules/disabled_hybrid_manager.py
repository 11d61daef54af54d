"""Sliding windows whose KV cache is kept whole."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.memory.serving.footprint import serving_footprint
from kaitoc.rules._serving_memory import footprint_of

CODE = "KT749"
NAME = "disabled-hybrid-manager"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server of a model with windows for which LMCache turns vLLM's hybrid KV manager off, at a loss."""
    footprint, workload = footprint_of(job), serving_memory(job).workload
    if footprint is None or workload is None or workload.hybrid_manager or not workload.offloaded_share:
        return
    if not workload.model.has_windows or not footprint.length_tokens:
        return
    without = replace(workload, hybrid_manager=True, offloaded_share=0.0)
    better = serving_footprint(without, footprint.gpu, job.assumptions.margin)
    length = footprint.length_tokens
    gain = better.concurrency(length) / max(footprint.concurrency(length), 1e-9)
    if gain < 1.1 and better.longest_tokens <= footprint.longest_tokens:
        return
    message = (
        f"LMCache turns off vLLM's hybrid KV manager, so {workload.model.name} caches its windows in full: "
        f"{footprint.longest_tokens:,} tokens of context instead of {better.longest_tokens:,}, and {gain:.1f} times "
        "fewer requests at once"
    )
    help_text = "write `kv_cache_cpu_memory_utilization: 0` next to `vllm` in inference_config.yaml"
    yield Fault(job.preset_place, message, help=help_text)
