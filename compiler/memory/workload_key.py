"""Workloads as cache keys: equal where what is derived from them is equal.

What a derivation does not depend on is set to one value, so that for example two optimizers share the derivation of a
step.
"""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.memory.footprint_family import masked_window
from kaitoc.compiler.memory.workload import Allocator, Attention, Loss, Optimizer, Workload


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
    return replace(workload, batch_size=1, seq_len_tokens=_representative_length(workload))


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
        batch_size=1,
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
