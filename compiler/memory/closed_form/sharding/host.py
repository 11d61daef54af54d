"""The host's memory on one node whose processes hold shards: what they hold of a model beside their GPUs."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.memory.closed_form.host import MAX_CHECKPOINT_FILE_BYTES
from kaitoc.compiler.memory.closed_form.optimizer import state_bytes
from kaitoc.compiler.memory.closed_form.sharding.load import split_after_loading
from kaitoc.compiler.memory.closed_form.sharding.state import trained_shards
from kaitoc.compiler.memory.closed_form.sharding.units import Unit, units_of
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.workload import Quantization, Workload


@lru_cache(maxsize=512)
def shards_host_bytes(workload: Workload) -> int:
    """Return the most that the processes of one node hold together while the model is loaded, trained or saved.

    It is that of any batch and length, by whose absence (`of_any_size`) it is remembered.
    """
    num_processes = workload.num_gpus // workload.sharding.num_nodes
    stepping = _stepping_bytes(workload) * num_processes
    loading = _loading_bytes(workload, num_processes)
    return max(loading, stepping + _unpinned_bytes(workload) * num_processes, stepping + _saving_bytes(workload))


def _loading_bytes(workload: Workload, num_processes: int) -> int:
    """Compute host bytes of loading: one full model per process, unless it is read straight to the GPU.

    Ram-efficient loading lets one process of a node read (`ram_efficient_loading`). What is trained is widened before
    it is split. A unit's shards replace it, but where all stay until the last is sent (`fsdp2_load_full_state_dict` of
    accelerate), or are read file by file (ZeRO-3).
    """
    sharding, file_bytes = workload.sharding, MAX_CHECKPOINT_FILE_BYTES
    half_bytes = workload.dtype.num_bytes * workload.architecture.num_parameters
    files = num_processes * min(half_bytes, file_bytes)
    if workload.quantization is not Quantization.NONE:
        num_holders = 1 if sharding.others_hold_nothing else num_processes
        return files + (num_holders * _whole_bytes(workload) if sharding.packed_on_host else 0)
    shards = sum(_offloaded_weights(workload)) * num_processes
    if sharding.kind is ShardingKind.ZERO3:
        return files + shards
    model_bytes = _whole_bytes(workload)
    if not split_after_loading(workload):
        return num_processes * model_bytes
    return model_bytes + (shards if sharding.kind is ShardingKind.FSDP2 else 0)


def _whole_bytes(workload: Workload) -> int:
    """Return the model as it is kept, put together."""
    return sum(unit.stored_bytes * count for unit, count in units_of(workload).all_units())


def _saving_bytes(workload: Workload) -> int:
    """Compute host bytes of saving: the trained tensors gathered on one process."""
    return sum(unit.trained.stored_bytes * count for unit, count in units_of(workload).all_units())


def _stepping_bytes(workload: Workload) -> int:
    """Sum the weights, their gradients and the optimizer's states that a process has on the host through a step."""
    sharding = workload.sharding
    if sharding.offload is Offload.NONE:
        return 0
    trained = trained_shards(workload)
    states = state_bytes(workload.optimizer, trained)
    gradients = [elements * num_bytes for count, elements, num_bytes in trained for _ in range(count)]
    weights = _offloaded_weights(workload)
    if sharding.kind is ShardingKind.ZERO3:
        return sum(weights) + states + 2 * sum(gradients)
    if sharding.kind is ShardingKind.FSDP1:
        return 2 * sum(map(pinned_bytes, weights)) + states
    return sum(map(pinned_bytes, weights)) + sum(map(pinned_bytes, gradients)) + states


def _unpinned_bytes(workload: Workload) -> int:
    """Return the shards of FSDP1 that its first step finds beside their pinned copies, which take their place then.

    `init_flat_param_attributes` of `torch/distributed/fsdp/_flat_param.py` pins all of them, and a gradient for each,
    whether or not it is trained.
    """
    return sum(_offloaded_weights(workload)) if workload.sharding.kind is ShardingKind.FSDP1 else 0


def _offloaded_weights(workload: Workload) -> list[int]:
    """List the tensors that a process has on the host as its shards of the weights."""
    sharding = workload.sharding
    if sharding.offload is not Offload.PARAMETERS:
        return []
    num_shards, units = sharding.group_of(workload.num_gpus), units_of(workload)
    if sharding.kind is ShardingKind.FSDP1:
        flat = (*units.layers, (units.root, 1))
        return [num_bytes for unit, count in flat for num_bytes in _flat_shards(unit, num_shards) * count]
    return [num_bytes for unit, count in units.all_units() for num_bytes in unit.shard_sizes(num_shards) * count]


def _flat_shards(unit: Unit, num_shards: int) -> list[int]:
    """List FSDP1's: one tensor of all that a unit trains or all that it does not, and one for each adapter matrix."""
    base = Unit(tuple(one for one in unit.parameters if not one.is_adapter))
    adapters = Unit(tuple(one for one in unit.parameters if one.is_adapter))
    return [*([base.shard_bytes(num_shards)] if base.parameters else []), *adapters.shard_sizes(num_shards)]


def pinned_bytes(num_bytes: int) -> int:
    """Round up to a power of two, as PyTorch does with pinned memory (`allocate` of `CachingHostAllocator.h`)."""
    return 1 << (num_bytes - 1).bit_length() if num_bytes else 0
