"""How a process comes to its shards: what passes through the GPU whole before it is split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.sharding.units import Unit, Units, units_of
from kaitoc.compiler.memory.closed_form.size import HALF_BYTES
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind, Wrap
from kaitoc.compiler.memory.workload import Quantization, Workload
from kaitoc.compiler.memory.workload_key import of_any_size

BROADCAST_BUCKET_BYTES = 250 << 20
"""`PARAM_BROADCAST_BUCKET_SIZE` of `torch/distributed/fsdp/_init_utils.py`, by which `sync_module_states` sends."""
_ADAPTER_LAUNCHES = 3
"""An adapter matrix is a unit of its own: received in place, made flat, and its shard copied out."""


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Tensors that are on the GPU whole at a time, in bytes, and the shards that stay of them.

    `sent` are the buffers that they are sent to the other processes in, two at a time, given back before `flat` is
    made: one tensor of them all, that FSDP1 splits; none otherwise. `num_launches` is how often the host asks the GPU
    for something on the way.
    """

    whole: tuple[int, ...]
    sent: tuple[int, ...] = ()
    flat: tuple[int, ...] = ()
    shards: tuple[int, ...] = ()
    num_launches: int = 0


def split_after_loading(workload: Workload) -> bool:
    """Return whether one process of a node sends the others their shards of the model.

    accelerate keeps `Params4bit` from that road with FSDP2 (`fsdp2_prepare_model`, `model_has_params4bit`).
    """
    sharding = workload.sharding
    if workload.quantization is not Quantization.NONE:
        return sharding.kind is ShardingKind.FSDP1 and sharding.packed_on_host
    return sharding.kind in (ShardingKind.FSDP1, ShardingKind.FSDP2) and sharding.ram_efficient_loading


def waits_on_gpu(workload: Workload) -> bool:
    """Return whether a process has all 4-bit weights on its GPU, where they were packed, before the first are split."""
    return workload.quantization is not Quantization.NONE and not workload.sharding.packed_on_host


def receives_ahead(workload: Workload) -> bool:
    """Return whether the other processes of a node run ahead of the one that sends them the model.

    It copies every tensor to its GPU first, for which its host waits. The others' hosts do the same with tensors that
    they made for it (`torch.empty` in `_load_pretrained_model` of transformers 4.45), but not with 4-bit weights, which
    are without data there and made on the GPU (`to_empty`), so that nothing holds them up.
    """
    is_4bit = workload.quantization is not Quantization.NONE
    return is_4bit and workload.sharding.others_hold_nothing and split_after_loading(workload)


def load_steps(workload: Workload) -> Iterator[LoadStep]:
    """Yield what is loaded in turn, the layers first, as they are wrapped; all of it is there first if it waits there.

    `fully_shard` moves the parameters of a unit to the GPU, then splits each (`_move_states_to_device`). FSDP1 flattens
    them there too, which is the unit once more (`FlatParamHandle.flatten_tensors_into_flat_param`). With ram-efficient
    loading FSDP2's parameters are broadcast one by one (`fsdp2_load_full_state_dict` of accelerate), as ZeRO-3's are.
    """
    kind, units = workload.sharding.kind, units_of(workload)
    num_shards = workload.sharding.group_of(workload.num_gpus)
    is_zero3 = kind is ShardingKind.ZERO3 and not waits_on_gpu(workload)
    passes_singly = is_zero3 or (kind is ShardingKind.FSDP2 and split_after_loading(workload))
    stays = workload.sharding.offload is not Offload.PARAMETERS
    if workload.sharding.packed_on_host:
        yield from _quantized_on_the_way(units)
    for unit, count in _in_order(workload, units):
        tensors = [(one.num_elements // one.copies * one.num_bytes, one.copies) for one in unit.parameters]
        kept = unit.shard_sizes(num_shards) if stays else ()
        for _ in range(count):
            if passes_singly:
                yield LoadStep((max(size for size, _ in tensors),), shards=kept)
                continue
            whole = tuple(size for size, copies in tensors for _ in range(copies))
            if kind is not ShardingKind.FSDP1:
                yield LoadStep(whole, shards=kept)
                continue
            sent = _buffers(whole) if workload.sharding.ram_efficient_loading else ()
            shard = (sum(kept),) if kept else ()
            yield LoadStep(whole, sent, (sum(whole),), shard, _num_launches(unit, len(sent)))


def _quantized_on_the_way(units: Units) -> Iterator[LoadStep]:
    """Yield weights that are packed on the GPU and taken off it again, until their unit is split.

    "For quantized modules with FSDP/DeepSpeed Stage 3, we need to quantize the parameter on the GPU and then cast it to
    CPU" (`_load_state_dict_into_meta_model` of transformers 4.57.6).
    """
    for unit, _ in units.layers:
        for one in unit.frozen.parameters:
            if one.is_packed:
                packed_bytes = one.num_elements // one.copies * one.num_bytes
                yield LoadStep((packed_bytes * HALF_BYTES * 2, packed_bytes))


def _buffers(tensors: tuple[int, ...]) -> tuple[int, ...]:
    """Return the buffers that tensors are broadcast in: each takes tensors until it is full, and a single tensor goes
    as it is (`compute_bucket_assignment_by_size` of `reducer.cpp`, `flatten_dense_tensors` of `tensor_flatten.h`).
    """
    buffers: list[int] = []
    bucket: list[int] = []
    for num_bytes in tensors:
        bucket.append(num_bytes)
        if sum(bucket) >= BROADCAST_BUCKET_BYTES:
            buffers += [sum(bucket)] if len(bucket) > 1 else []
            bucket = []
    return (*buffers, sum(bucket)) if len(bucket) > 1 else tuple(buffers)


def _num_launches(unit: Unit, num_sent: int) -> int:
    """Count what a host asks of the GPU to receive and split a unit: a tensor copied out of its buffer each, a buffer
    put together each, the flat tensor, and the shard of it.
    """
    num_adapters = sum(one.copies for one in unit.parameters if one.is_adapter)
    return num_sent + unit.num_parameters - num_adapters + 2 + _ADAPTER_LAUNCHES * num_adapters


def _in_order(workload: Workload, units: Units) -> Iterator[tuple[Unit, int]]:
    yield from units.layers
    if workload.sharding.kind is ShardingKind.FSDP2 and workload.sharding.wrap is Wrap.TAIL:
        yield units.embedding, 1
        yield units.tail, 1
    else:
        yield units.root, 1


def largest_saved_bytes(workload: Workload) -> int:
    """Return the largest tensor that is put together to be saved: parameters are gathered one at a time."""
    return _largest_saved(of_any_size(workload))


@lru_cache(maxsize=512)
def _largest_saved(workload: Workload) -> int:
    return max(
        one.num_elements // one.copies * one.num_bytes
        for unit, _ in units_of(workload).all_units()
        for one in unit.parameters
        if one.is_trained
    )


def load_peak_bytes(workload: Workload) -> int:
    """Return the most that a process has on its GPU while the model is loaded and split.

    4-bit weights are packed on the GPU; where they wait there, all of them are before the first unit is split.
    """
    return _load_peak(of_any_size(workload))


@lru_cache(maxsize=512)
def _load_peak(workload: Workload) -> int:
    units = units_of(workload)
    kept, peak = units.replicated_bytes, 0
    steps = list(load_steps(workload))
    waiting = sum(sum(step.whole) for step in steps) if waits_on_gpu(workload) else 0
    for step in steps:
        whole = sum(step.whole)
        peak = max(peak, kept + (waiting or whole) + sum(step.flat) + sum(step.shards))
        waiting = max(0, waiting - whole)
        kept += sum(step.shards)
    return max(peak, kept)
