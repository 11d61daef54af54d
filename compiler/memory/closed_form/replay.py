"""Replays batches, one after the other, tensor by tensor through one allocator that holds the weights.

After a step its blocks have merged into the segments that they were cut from, so most batches take nothing more from
the device and are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import AllocatorOutOfMemoryError, CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.resident import loaded_allocator, resident_of, trained_tensors
from kaitoc.compiler.memory.closed_form.step_replay import StepReplay
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.workload import Allocator, Workload
from kaitoc.compiler.memory.workload_key import adapter_shape, key_of_plan, key_of_step


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
    resident = resident_of(workload, gpu, has_states=has_states)
    allocator = CachingAllocator(settings) if capacity_bytes is not None else loaded_allocator(resident, settings)
    try:
        if capacity_bytes is not None:
            resident.load(allocator)
        _Run(workload, allocator, accumulation_steps, has_states=has_states).run(shapes)
    except AllocatorOutOfMemoryError:
        return Replayed(allocator.peak_allocated_bytes, allocator.peak_reserved_bytes, allocator.num_retries, False)
    return Replayed(allocator.peak_allocated_bytes, allocator.peak_reserved_bytes, allocator.num_retries, True)


class _Run:
    """A fine-tune on one GPU whose resident memory is allocated, and the batches that come."""

    def __init__(
        self, workload: Workload, allocator: CachingAllocator, accumulation_steps: int, *, has_states: bool
    ) -> None:
        self.workload = replace(workload, lora=adapter_shape(workload.lora))
        self.plan = plan_for(workload)
        self.trainable = trained_tensors(key_of_plan(workload))
        self.allocator = allocator
        self.accumulation_steps = accumulation_steps
        self._gradients: list[Block] = []
        self._outputs: list[Block] = []
        self._has_states = has_states

    def run(self, shapes: Sequence[BatchShape]) -> None:
        """Run batches, with the optimizer after every `accumulation_steps` of them.

        A batch is skipped that is in no way larger than one that took nothing from the device, since which nothing
        was taken either, unless it leaves gradients or outputs among which later ones find their gaps.
        """
        allocator, idle = self.allocator, list[tuple[BatchShape, bool]]()
        for number, shape in enumerate(shapes, 1):
            is_updated, is_first = number % self.accumulation_steps == 0, not self._gradients
            reserved, peak = allocator.reserved_bytes, allocator.peak_reserved_bytes
            leaves_blocks = self.workload.holds_outputs or (is_first and not is_updated)
            if leaves_blocks or not any(_covers(other, shape) for other, first in idle if first is is_first):
                self._batch(shape)
                idle.append((shape, is_first))
            if is_updated and (self._gradients or self.workload.steps_in_backward):
                self._update(is_last=number == len(shapes))
            if (reserved, peak) != (allocator.reserved_bytes, allocator.peak_reserved_bytes):
                idle.clear()

    def _batch(self, shape: BatchShape) -> None:
        workload = replace(self.workload, batch_size=shape.num_rows, seq_len_tokens=shape.num_tokens)
        script = script_of(key_of_step(workload), adds_up=bool(self._gradients), is_detailed=True)
        step = StepReplay(self.allocator, script, script.num_bytes(*shape))
        step.forward()
        for block in self._outputs:
            self.allocator.free(block)
        step.back(passes_layers=not self.plan.trains_base)
        blocks = step.blocks
        self._outputs = [blocks[number] for number in script.outputs]
        self._gradients += [blocks[number] for number in script.gradients]
        stay = {*script.outputs, *script.gradients}
        for number in script.left:
            if number not in stay:
                self.allocator.free(blocks[number])

    def _update(self, *, is_last: bool) -> None:
        """Step the optimizer, whose state is born in its first step, and drop the gradients, the last for good."""
        if not self._has_states:
            self._allocate(state_sizes(self.workload.optimizer, self.trainable))
            self._has_states = True
        scratch = self._allocate(
            () if self.workload.steps_in_backward else step_sizes(self.workload.optimizer, self.trainable)
        )
        if is_last:
            return
        for block in (*scratch, *self._gradients):
            self.allocator.free(block)
        self._gradients = []
        if self.workload.empty_cache_each_step:
            self.allocator.empty_cache()

    def _allocate(self, sizes: Sequence[int]) -> list[Block]:
        return [self.allocator.allocate(size) for size in sizes]


def _covers(large: BatchShape, small: BatchShape) -> bool:
    return small.num_rows <= large.num_rows and small.num_tokens <= large.num_tokens
