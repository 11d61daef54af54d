"""Workloads as cache keys: equal where what is derived from them is equal.

What a derivation does not depend on is set to one value, so that for example two optimizers share the derivation of a
step.
"""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.memory.footprint_family import masked_window
from kaitoc.compiler.memory.workload import Allocator, Attention, Loss, Optimizer, Workload

TILE_TOKENS = 4096
"""Tokens that the fused loss scores at a time (`TOKEN_CHUNK_SIZE` of TRL's `kernels/chunked_logprob.py`, 1.15)."""


class WorkloadKey:
    """A hashable workload: an architecture's `config` is a mapping and cannot be hashed."""

    __slots__ = ("_hash", "workload")

    def __init__(self, workload: Workload) -> None:
        architecture = workload.architecture
        self.workload = workload
        self._hash = hash(
            (
                architecture.name,
                workload.lora,
                workload.stack,
                workload.quantization,
                workload.gradient_checkpointing,
                workload.attention,
                workload.loss,
                workload.optimizer,
                workload.seq_len_tokens,
            )
        )

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkloadKey) and self.workload == other.workload


def of_any_size(workload: Workload) -> Workload:
    """Return a workload with batch and sequence length set to one value: derivations leave them open."""
    return replace(
        workload, batch_size=_representative_batch(workload), seq_len_tokens=_representative_length(workload)
    )


def key_of_step(workload: Workload) -> WorkloadKey:
    """Return the key of what the kernels of a step depend on: not the optimizer, nor how weights are stored."""
    return WorkloadKey(_without_surroundings(workload))


def key_of_work(workload: Workload) -> WorkloadKey:
    """Return the key of what the kernels of a step read and compute, the constants of quantised weights included."""
    return WorkloadKey(replace(_without_surroundings(workload), double_quant=workload.double_quant))


def key_of_plan(workload: Workload) -> WorkloadKey:
    """Return the key of what the layers depend on: how they are loaded, quantised and adapted."""
    return WorkloadKey(
        replace(
            _without_surroundings(workload),
            double_quant=workload.double_quant,
            gradient_checkpointing=False,
            attention=Attention.SDPA,
            loss=Loss.FULL,
        )
    )


def _without_surroundings(workload: Workload) -> Workload:
    return replace(
        workload,
        batch_size=_representative_batch(workload),
        seq_len_tokens=_representative_length(workload),
        num_gpus=1,
        double_quant=False,
        optimizer=Optimizer.ADAMW_FUSED,
        allocator=Allocator.DEFAULT,
        empty_cache_each_step=False,
    )


def _representative_length(workload: Workload) -> int:
    """Return one length for all that are derived alike: those within a sliding window, and those that reach past it."""
    return masked_window(workload.architecture, workload.seq_len_tokens) or 1


def _representative_batch(workload: Workload) -> int:
    """Return one batch size for all that are derived alike: one sequence, more, and those that fill a loss's tile."""
    if workload.loss is Loss.FUSED and workload.batch_size * workload.seq_len_tokens >= TILE_TOKENS:
        return TILE_TOKENS
    is_multi_query = workload.architecture.num_kv_heads == 1 or workload.loss is Loss.FUSED
    return min(workload.batch_size, 2) if is_multi_query else 1
