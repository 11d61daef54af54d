"""The KV cache in 8 bits: twice the tokens, and other numbers than in 16."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.catalog.gpus import ADA
from kaitoc.compiler.memory.serving.shape import CacheKind
from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion
from kaitoc.compiler.passes.model import Preserves
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative

_EIGHT_BITS = "fp8"
_PLAIN = (CacheKind.FULL, CacheKind.SLIDING)


def _present(run: ServingRun) -> str:
    return run.workload.kv_dtype


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[str]]:
    if all(_can_change(run) for run in question.runs):
        yield Alternative(_EIGHT_BITS, Preserves.CHANGES)


def _can_change(run: ServingRun) -> bool:
    """Return whether the GPU has units for the type; without them vLLM has slower kernels or none."""
    kinds = {layer.cache.kind for layer in run.workload.model.layers}
    return (
        run.workload.kv_dtype == "auto"
        and run.gpu.compute_capability >= ADA
        and kinds <= set(_PLAIN)
    )  # fmt: skip


def _apply(runs: Runs, value: str) -> Runs:
    return tuple(run.varied(kv_dtype=value) for run in runs)


def _values(run: ServingRun) -> Mapping[str, object]:
    return {"kv-cache-dtype": run.workload.kv_dtype}


def _reason(before: ServingRun, after: ServingRun) -> str:
    tokens = [run.footprint.kv_tokens if run.footprint is not None else 0 for run in (before, after)]
    return f"keys and values in 8 bits: the KV cache holds {tokens[1]:,} tokens instead of {max(0, tokens[0]):,}"


CHOICE = ServingChoice("cache type", _present, _alternatives, _apply, _values, _reason)
