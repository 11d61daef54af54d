"""The host's memory on one node: what its processes hold of a model beside their GPUs."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.memory.closed_form.optimizer import state_bytes
from kaitoc.compiler.memory.closed_form.sharding.load import split_after_loading
from kaitoc.compiler.memory.closed_form.sharding.state import trained_shards
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.workload import Quantization, Workload

MAX_CHECKPOINT_FILE_BYTES = 5 * 10**9
"""How large a file of weights is at most (`max_shard_size` of `save_pretrained`, transformers until 4); a process that
puts weights where they belong as it reads them holds one at a time."""


@lru_cache(maxsize=512)
def host_bytes(workload: Workload) -> int:
    """Return the most that the processes of one node hold together while the model is loaded, trained or saved.

    It is that of any batch and length, by whose absence (`of_any_size`) it is remembered.
    """
    num_processes = workload.num_gpus // workload.sharding.num_nodes
    offloaded = _offloaded_bytes(workload) * num_processes
    return max(offloaded + _loading_bytes(workload, num_processes), offloaded + _saving_bytes(workload))


def _loading_bytes(workload: Workload, num_processes: int) -> int:
    """Compute host bytes of loading: one full model per process, unless it is read straight to the GPU.

    Ram-efficient loading lets one process of a node read (`ram_efficient_loading`). What is trained is widened before
    it is split.
    """
    sharding, file_bytes = workload.sharding, MAX_CHECKPOINT_FILE_BYTES
    half_bytes = workload.dtype.num_bytes * workload.architecture.num_parameters
    if workload.quantization is not Quantization.NONE or sharding.kind is ShardingKind.ZERO3:
        return num_processes * min(half_bytes, file_bytes)
    model_bytes = _whole_bytes(workload) if sharding.is_sharded else half_bytes
    if split_after_loading(workload):
        return model_bytes
    return num_processes * model_bytes


def _whole_bytes(workload: Workload) -> int:
    """Return the model as it is kept, put together."""
    return sum(unit.stored_bytes * count for unit, count in units_of(workload).all_units())


def _saving_bytes(workload: Workload) -> int:
    """Compute host bytes of saving: the trained tensors gathered on one process, 0 with full copies."""
    if not workload.sharding.is_sharded:
        return 0
    return sum(unit.trained.stored_bytes * count for unit, count in units_of(workload).all_units())


def _offloaded_bytes(workload: Workload) -> int:
    """Return the shards of a process that live on the host: weights, their gradients and the optimizer's states."""
    offload = workload.sharding.offload
    if offload is Offload.NONE:
        return 0
    trained = trained_shards(workload)
    states = state_bytes(workload.optimizer, trained)
    gradients = sum(count * elements * num_bytes for count, elements, num_bytes in trained)
    if workload.sharding.kind is ShardingKind.ZERO3:
        states += gradients
    if offload is Offload.OPTIMIZER:
        return states + gradients
    num_shards = workload.sharding.group_of(workload.num_gpus)
    weights = sum(unit.shard_bytes(num_shards) * count for unit, count in units_of(workload).all_units())
    return weights + states + gradients
