"""What one of several processes keeps through every step, and what its optimizer needs."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.closed_form.optimizer import TrainableTensors, state_bytes, step_bytes
from kaitoc.compiler.memory.closed_form.sharding.units import Units, units_of
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, HALF_BYTES
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.workload import Optimizer, Workload
from kaitoc.compiler.memory.workload_key import of_any_size

SUB_GROUP_PARAMETERS = 10**9
"""`sub_group_size`: ZeRO-3 steps over so many at a time, whose gradients it widens."""

REDUCE_BUCKET_BYTES = 5 * 10**8 * HALF_BYTES
"""`reduce_bucket_size`: a bucket that lives as long as ZeRO-3's optimizer, however few parameters are trained
(`contiguous_gradients`, `_setup_for_real_optimizer` of `stage3.py`). In a file of the user "auto" makes it the square
of the hidden size (`HfTrainerDeepSpeedConfig`)."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """Bytes on one process. `gradient_bytes` are its shard's; `held_gradient_bytes` those of the whole model that
    batches of one accumulation leave until the last, 0 where each is reduced.
    """

    weights_bytes: int
    adapter_bytes: int
    gradient_bytes: int
    held_gradient_bytes: int
    optimizer_bytes: int
    optimizer_step_bytes: int


def trained_shards(workload: Workload) -> TrainableTensors:
    """Return (count, elements, bytes per element) of the trained tensors of a process.

    FSDP1 has one flat tensor per unit, but for adapters, whose matrices are units of their own.
    """
    units, num_shards = units_of(workload), workload.sharding.group_of(workload.num_gpus)
    if workload.sharding.kind is ShardingKind.FSDP1 and workload.lora is None:
        return tuple(
            (count, unit.shard_elements(num_shards), unit.parameters[0].num_bytes)
            for unit, count in (*units.layers, (units.root, 1))
        )
    return tuple(
        (count * one.copies, one.shard_elements(num_shards) // one.copies, one.num_bytes)
        for unit, count in units.all_units()
        for one in unit.trained.parameters
    )


def shard_state(workload: Workload) -> ShardState:
    """Return the bytes that a process of a sharded workload keeps on its GPU."""
    return shard_state_of(of_any_size(workload), accumulates=workload.accumulates)


@lru_cache(maxsize=512)
def shard_state_of(workload: Workload, *, accumulates: bool) -> ShardState:
    """Return the bytes that a process keeps, for workloads of any size."""
    units, sharding = units_of(workload), workload.sharding
    if sharding.kind is ShardingKind.ZERO3:
        return _zero3_state(workload, units)
    num_shards = sharding.group_of(workload.num_gpus)
    trained = trained_shards(workload)
    keeps = sharding.offload is not Offload.PARAMETERS
    keeps_optimizer = sharding.offload is Offload.NONE
    weights, adapters, gradients, held = units.replicated_bytes, 0, 0, 0
    for unit, count in units.all_units():
        for one in unit.parameters:
            shard_bytes = one.shard_elements(num_shards) * one.num_bytes * count
            if keeps and one.is_adapter:
                adapters += shard_bytes
            elif keeps:
                weights += shard_bytes
            gradients += shard_bytes if one.is_trained and keeps else 0
        held += unit.trained.gathered_bytes(1) * count
    return ShardState(
        weights_bytes=weights,
        adapter_bytes=adapters,
        gradient_bytes=gradients,
        held_gradient_bytes=held if accumulates and not sharding.sync_each_batch else 0,
        optimizer_bytes=state_bytes(workload.optimizer, trained) if keeps_optimizer else 0,
        optimizer_step_bytes=step_bytes(workload.optimizer, trained) if keeps_optimizer else 0,
    )


def _zero3_state(workload: Workload, units: Units) -> ShardState:
    """Compute ZeRO-3's state: half shards of all weights; for trained ones a flat gradient and float32 weights
    with their moments (`stage3.py`, `_create_fp16_partitions_with_defragmentation`, `_create_fp32_partitions`).
    """
    offload, num_shards = workload.sharding.offload, workload.sharding.group_of(workload.num_gpus)
    half_bytes = (workload.autocast or workload.dtype).num_bytes
    weights, adapters, trained = units.replicated_bytes, 0, 0
    for unit, count in units.all_units():
        for one in unit.parameters:
            elements = -(-one.num_elements * count // num_shards)
            num_bytes = elements * min(one.num_bytes, half_bytes)
            weights, adapters = (weights, adapters + num_bytes) if one.is_adapter else (weights + num_bytes, adapters)
            trained += elements if one.is_trained else 0
    if offload is Offload.PARAMETERS:
        weights, adapters = units.replicated_bytes, 0
    keeps_optimizer = offload is Offload.NONE
    states = state_bytes(workload.optimizer, ((1, trained, FLOAT32_BYTES),))
    return ShardState(
        weights_bytes=weights,
        adapter_bytes=adapters,
        gradient_bytes=trained * half_bytes if keeps_optimizer else 0,
        held_gradient_bytes=0,
        optimizer_bytes=states + trained * FLOAT32_BYTES if keeps_optimizer else 0,
        optimizer_step_bytes=REDUCE_BUCKET_BYTES
        + (min(trained, SUB_GROUP_PARAMETERS) * FLOAT32_BYTES if keeps_optimizer else 0),
    )


def as_computed(workload: Workload) -> Workload:
    """Return the step that a process computes: with mixed precision all weights are gathered in its half type.

    FSDP2 casts what its units return as well (`output_dtype`, `_cast_output_dtype` of `_fsdp_state.py`).
    """
    lora, half = workload.lora, workload.autocast
    if half is None:
        return workload
    return replace(
        workload,
        lora=replace(lora, dtype=half) if lora is not None else None,
        dtype=half,
        loaded_dtype=workload.dtype,
        cast_units=workload.sharding.wrap if workload.sharding.kind is ShardingKind.FSDP2 else None,
        optimizer=Optimizer.ADAMW_FUSED,
    )
