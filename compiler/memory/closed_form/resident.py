"""What is on the GPU before the first batch: weights, adapters, cuBLAS's workspace, and the optimizer's state."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.layout import Plan
from kaitoc.compiler.memory.closed_form.optimizer import TrainableTensors, state_sizes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.workload import Optimizer, Workload
from kaitoc.compiler.memory.workload_key import key_of_plan


@dataclass(frozen=True, slots=True)
class Resident:
    """What is there before the first batch, whatever its size.

    `has_buckets`: gradients are averaged in buffers of their size (DDP). The state of `optimizer` is there already.
    """

    workload: Workload
    workspace_bytes: int
    has_buckets: bool
    optimizer: Optimizer | None

    def load(self, allocator: CachingAllocator) -> None:
        """Allocate all of it in order; raises `AllocatorOutOfMemoryError`."""
        for size in self._sizes():
            allocator.allocate(size)

    def _sizes(self) -> Iterator[int]:
        plan = plan_for(self.workload)
        yield from _parameter_sizes(self.workload, plan)
        yield self.workspace_bytes
        if self.has_buckets:
            yield plan.gradient_bytes
        if self.optimizer is not None:
            yield from state_sizes(self.optimizer, trained_tensors(self.workload))


def resident_of(workload: Workload, gpu: Gpu | None, *, has_states: bool) -> Resident:
    """Collect a workload's resident memory on a GPU."""
    return Resident(
        key_of_plan(workload),
        device.cublas_workspace_bytes(gpu),
        workload.num_gpus > 1,
        workload.optimizer if has_states else None,
    )


def loaded_allocator(resident: Resident, settings: AllocatorSettings) -> CachingAllocator:
    """Return an allocator without a limit that holds it; it is loaded once for all sizes of a batch."""
    return _loaded(resident, settings).with_residents()


@lru_cache(maxsize=64)
def _loaded(resident: Resident, settings: AllocatorSettings) -> CachingAllocator:
    allocator = CachingAllocator(settings)
    resident.load(allocator)
    return allocator


def resident_bytes(workload: Workload) -> int:
    """Sum what lives through every step of a replay, but for the optimizer's state."""
    plan = plan_for(workload)
    return plan.weights_bytes + plan.adapter_bytes + device.cublas_workspace_bytes(None)


@lru_cache(maxsize=64)
def trained_tensors(workload: Workload) -> TrainableTensors:
    """List what the optimizer steps in the model's order, which decides where its states come to lie."""
    return tuple(
        (one.copies, one.num_elements // one.copies, one.num_bytes)
        for unit, count in units_of(replace(workload, autocast=None)).all_units()
        for one in unit.trained.parameters * count
    )


def _parameter_sizes(workload: Workload, plan: Plan) -> Iterator[int]:
    """Yield the sizes of weights and adapters, tensor by tensor as the model has them, and then what is in none."""
    total = plan.weights_bytes + plan.adapter_bytes
    for unit, count in units_of(replace(workload, autocast=None)).all_units():
        for one in unit.parameters * count:
            size = one.num_elements // one.copies * one.num_bytes
            for _ in range(one.copies):
                if 0 < size <= total:
                    total -= size
                    yield size
    if total:
        yield total
