"""Why a server does not start whatever is changed, and what would let it."""

from __future__ import annotations

from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFault, ServingFootprint
from kaitoc.compiler.passes.model import Binding, Goal, Preserve
from kaitoc.compiler.passes.server_instance import smallest_instance
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_search import search_for_server


def binding_of_server(job: ServingJob, context: ServingContext) -> Binding:
    """Explain what a server lacks on the stated GPUs and which option would allow a fix; empty when it may start."""
    footprint = serving_memory(job).footprint
    if footprint is None or footprint.verdict is not Verdict.DOES_NOT_FIT:
        return Binding()
    shortage = f"{job.manifest.ref.name} does not start: {_lack(footprint)}"
    return Binding(job.manifest.source.path, shortage, _way_out(job, context))


def _lack(footprint: ServingFootprint) -> str:
    rank = footprint.tightest
    gpu = footprint.gpu.name if footprint.gpu is not None else "the GPU"
    if footprint.fault is ServingFault.LENGTH:
        need, has = format_gib(footprint.needed_bytes), format_gib(rank.available_bytes)
        return (
            f"a request of {footprint.workload.length_limit_tokens:,} tokens needs {need} of KV cache, {gpu} has {has}"
        )
    if footprint.fault is ServingFault.UTILIZATION:
        return f"vLLM asks for {format_gib(rank.requested_bytes)} of {gpu}, but CUDA and NCCL need part of it"
    beside, asked = format_gib(rank.beside_cache_bytes), format_gib(rank.requested_bytes)
    return f"each {gpu} needs {beside} without the KV cache, and vLLM may use {asked}"


def _way_out(job: ServingJob, context: ServingContext) -> str:
    if context.preserve is not Preserve.ANY:
        search = search_for_server(job, context, Goal.FIT)
        smallest = search.smallest_that_fits(Preserve.ANY) if search is not None else None
        if search is not None and smallest is not None:
            values = ", ".join(
                f"`{name}: {value}`"
                for choice, _ in search.space.taken(smallest)
                for name, value in choice.values(search.varied(smallest)[0]).items()
            )
            return f"; --preserve any takes {values}"
    larger = smallest_instance(job, context)
    if larger is None:
        return "; one node of no known instance type holds it"
    return f"; it fits on {larger.name} (--allow-workspace-edits)"
