"""Replays batches, one after the other, tensor by tensor through one allocator that holds the weights.

After a step its blocks have merged into the segments that they were cut from, so most batches take nothing more from
the device and are skipped. So are most layers going back, each of which finds what the one before has left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import AllocatorOutOfMemoryError, CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form.layout import Plan
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.script import GoingBack, Script
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.workload import Allocator, Workload
from kaitoc.compiler.memory.workload_key import adapter_shape, key_of_step


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a run of batches was seen to take: peaks of PyTorch's counters in bytes.

    `num_retries` is how often the device had no room and unused segments went back to it; `fits` is False where that
    did not help and the run ended.
    """

    allocated_bytes: int
    reserved_bytes: int
    num_retries: int
    fits: bool


def replay_batches(
    workload: Workload,
    shapes: Sequence[BatchShape],
    gpu: Gpu | None = None,
    *,
    accumulation_steps: int = 1,
    capacity_bytes: int | None = None,
    has_states: bool = False,
) -> Replayed:
    """Replay batches of these sizes in order; `capacity_bytes` is the device memory PyTorch may use.

    With `has_states` the optimizer's state is there before the first of them.
    """
    settings = AllocatorSettings(
        expandable_segments=workload.allocator is Allocator.EXPANDABLE, capacity_bytes=capacity_bytes
    )
    allocator = CachingAllocator(settings)
    try:
        run = _Run(workload, gpu, allocator, accumulation_steps)
        if has_states:
            run.allocate_states()
        run.run(shapes)
    except AllocatorOutOfMemoryError:
        return Replayed(allocator.peak_allocated_bytes, allocator.peak_reserved_bytes, allocator.num_retries, False)
    return Replayed(allocator.peak_allocated_bytes, allocator.peak_reserved_bytes, allocator.num_retries, True)


class _Run:
    """A fine-tune on one GPU: what is resident, and the batches that come."""

    def __init__(
        self, workload: Workload, gpu: Gpu | None, allocator: CachingAllocator, accumulation_steps: int
    ) -> None:
        self.workload = replace(workload, lora=adapter_shape(workload.lora))
        self.plan = plan_for(workload)
        self.trainable = tuple(_trained(workload))
        self.allocator = allocator
        self.accumulation_steps = accumulation_steps
        self._gradients: list[Block] = []
        self._outputs: list[Block] = []
        self._has_states = False
        for size in _resident_sizes(workload, self.plan):
            allocator.allocate(size)
        allocator.allocate(device.cublas_workspace_bytes(gpu))
        if workload.num_gpus > 1:
            allocator.allocate(self.plan.gradient_bytes)

    def allocate_states(self) -> None:
        """Allocate the optimizer's state, which stays."""
        for size in state_sizes(self.workload.optimizer, self.trainable):
            self.allocator.allocate(size)
        self._has_states = True

    def run(self, shapes: Sequence[BatchShape]) -> None:
        """Run batches, with the optimizer after every `accumulation_steps` of them.

        A batch is skipped that is in no way larger than one that took nothing from the device, since which nothing
        was taken either.
        """
        allocator, idle = self.allocator, list[tuple[BatchShape, bool]]()
        for number, shape in enumerate(shapes, 1):
            is_updated, is_first = number % self.accumulation_steps == 0, not self._gradients
            reserved, peak = allocator.reserved_bytes, allocator.peak_reserved_bytes
            leaves_gradients = is_first and not is_updated
            if leaves_gradients or not any(_covers(other, shape) for other, first in idle if first is is_first):
                self._batch(shape)
                idle.append((shape, is_first))
            if is_updated and (self._gradients or self.workload.steps_in_backward):
                self._update()
            if (reserved, peak) != (allocator.reserved_bytes, allocator.peak_reserved_bytes):
                idle.clear()

    def _batch(self, shape: BatchShape) -> None:
        workload = replace(self.workload, batch_size=shape.num_rows, seq_len_tokens=shape.num_tokens)
        script = script_of(key_of_step(workload), adds_up=bool(self._gradients), is_detailed=True)
        blocks: list[Block] = []
        num_bytes = script.num_bytes(*shape)
        script.run(self.allocator, num_bytes, blocks, 0, script.num_forward)
        for block in self._outputs:
            self.allocator.free(block)
        self._go_back(script, num_bytes, blocks)
        self._outputs = [blocks[number] for number in script.outputs]
        self._gradients += [blocks[number] for number in script.gradients]
        stay = {*script.outputs, *script.gradients}
        for number in script.left:
            if number not in stay:
                self.allocator.free(blocks[number])

    def _go_back(self, script: Script, num_bytes: Sequence[int], blocks: list[Block]) -> None:
        """Run the backward pass, of a layer that does as one that took nothing from the device only what outlives it.

        Where weights are trained whole each layer leaves their gradients, so that the next finds other gaps.
        """
        allocator, position = self.allocator, script.num_forward
        for layers in () if self.plan.trains_base else script.going_back:
            script.run(allocator, num_bytes, blocks, position, layers.start)
            position, is_idle = layers.start, False
            for _ in range(layers.num_layers):
                reserved_bytes, end = allocator.reserved_bytes, position + layers.num_operations
                if is_idle:
                    self._pass(script, layers, position, num_bytes, blocks)
                else:
                    script.run(allocator, num_bytes, blocks, position, end)
                position, is_idle = end, allocator.reserved_bytes == reserved_bytes
        script.run(allocator, num_bytes, blocks, position, len(script.operations))

    def _pass(
        self, script: Script, layers: GoingBack, start: int, num_bytes: Sequence[int], blocks: list[Block]
    ) -> None:
        """Take and free what outlives a layer; the other blocks of its numbers are never asked for."""
        first, allocator = len(blocks), self.allocator
        blocks += [blocks[0]] * layers.num_blocks
        for place, number in layers.lasting:
            operation = script.operations[start + place]
            if number is None:
                allocator.free(blocks[~operation])
            else:
                blocks[first + number] = allocator.allocate_rounded(num_bytes[operation])

    def _update(self) -> None:
        """Step the optimizer, whose state is born in its first step, and drop the gradients."""
        if not self._has_states:
            self.allocate_states()
        after = () if self.workload.steps_in_backward else step_sizes(self.workload.optimizer, self.trainable)
        scratch = [self.allocator.allocate(size) for size in after]
        for block in (*scratch, *self._gradients):
            self.allocator.free(block)
        self._gradients = []
        if self.workload.empty_cache_each_step:
            self.allocator.empty_cache()


def resident_bytes(workload: Workload) -> int:
    """Sum what lives through every step of a replay, but for the optimizer's state."""
    plan = plan_for(workload)
    return plan.weights_bytes + plan.adapter_bytes + device.cublas_workspace_bytes(None)


def _covers(large: BatchShape, small: BatchShape) -> bool:
    return small.num_rows <= large.num_rows and small.num_tokens <= large.num_tokens


def _trained(workload: Workload) -> Iterator[tuple[int, int, int]]:
    """Yield what the optimizer steps in the model's order, which decides where its states come to lie."""
    for unit, count in units_of(replace(workload, autocast=None)).all_units():
        for _ in range(count):
            for one in unit.trained.parameters:
                yield one.copies, one.num_elements // one.copies, one.num_bytes


def _resident_sizes(workload: Workload, plan: Plan) -> Iterator[int]:
    """Yield the sizes of weights and adapters, tensor by tensor as the model has them, and then what is in none."""
    total = plan.weights_bytes + plan.adapter_bytes
    for unit, count in units_of(replace(workload, autocast=None)).all_units():
        for _ in range(count):
            for one in unit.parameters:
                size = one.num_elements // one.copies * one.num_bytes
                for _ in range(one.copies):
                    if 0 < size <= total:
                        total -= size
                        yield size
    if total:
        yield total
