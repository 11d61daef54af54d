"""How much of a GPU vLLM may take: less where CUDA and NCCL have no room beside it, more where the cache is short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.memory.serving.footprint import ServingFault
from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion, cache_moves
from kaitoc.compiler.passes.model import Goal
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative

_HIGHER = (0.86, 0.88, 0.9, 0.92)
"""Shares to try, of which none is above vLLM's own default."""


def _present(run: ServingRun) -> float:
    return run.workload.utilization


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[float]]:
    runs, present = question.runs, _present(question.run)
    if any(run.workload.kv_cache_bytes is not None for run in runs):
        return  # the cache has a size of its own
    room = min(_room(run) for run in runs)
    if any(run.footprint is not None and run.footprint.fault is ServingFault.UTILIZATION for run in runs):
        yield Alternative(room)
        return
    most = min(room, *(run.most_utilization for run in runs))
    higher = [Alternative(share) for share in _HIGHER if present < share <= most]
    if question.goal is not Goal.LATENCY:
        yield from higher if question.is_about_starting else higher[-1:]


def _room(run: ServingRun) -> float:
    """Return the largest share, in hundredths, beside which CUDA, NCCL and a second sampling have room.

    vLLM samples for every sequence once more when the KV cache is taken (`compile_or_warm_up_model`).
    """
    footprint = run.footprint
    if footprint is None:
        return 0.0
    outside = max(rank.outside_bytes + rank.sampling_bytes for rank in footprint.ranks)
    return int((1 - outside / run.gpu.memory_bytes) * 100) / 100


def _apply(runs: Runs, value: float) -> Runs:
    return tuple(run.varied(utilization=value) for run in runs)


def _values(run: ServingRun) -> Mapping[str, object]:
    return {"gpu-memory-utilization": run.workload.utilization}


def _reason(before: ServingRun, after: ServingRun) -> str:
    was, now = before.workload.utilization, after.workload.utilization
    if now < was:
        outside = max(rank.outside_bytes for rank in after.footprint.ranks) if after.footprint is not None else 0
        return f"{was:g} of {before.gpu.name} leaves no room for CUDA and NCCL, which need {format_gib(outside)}"
    return f"vLLM may take {now:g} of {before.gpu.name} instead of {was:g}{cache_moves(before, after)}"


CHOICE = ServingChoice("utilization", _present, _alternatives, _apply, _values, _reason, is_monotone=True)
