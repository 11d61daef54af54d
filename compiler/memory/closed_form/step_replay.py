"""Replays one step's script through an allocator and passes over layers that do as the one before them.

Equal layers mostly find what the one before has left. Going forward through checkpoints in expandable segments each
takes its output off the growing end and leaves the other free blocks as they were. Going back with adapters most take
nothing from the device.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.closed_form.script import EqualLayers, Script


class _Free(NamedTuple):
    """The free blocks, by size and place, and where the growing end begins."""

    others: list[tuple[int, int]]
    end: int


class StepReplay:
    """A step at one batch size and sequence length; `blocks` are those allocated so far, by number."""

    def __init__(self, allocator: CachingAllocator, script: Script, num_bytes: Sequence[int]) -> None:
        self.blocks: list[Block] = []
        self._allocator = allocator
        self._script = script
        self._num_bytes = num_bytes
        self._position = 0

    def forward(self) -> None:
        """Run the forward pass up to the loss."""
        for layers in self._script.going_forward:
            self._run_to(layers.start)
            self._forward_through(layers)
        self._run_to(self._script.num_forward)

    def back(self, *, passes_layers: bool) -> None:
        """Run the backward pass; `passes_layers`: of some layers no more than what outlives them.

        Where weights are trained whole each layer leaves their gradients, so that the next finds other gaps.
        """
        for layers in self._script.going_back if passes_layers else ():
            self._run_to(layers.start)
            self._back_through(layers)
        self._run_to(len(self._script.operations))

    def _run_to(self, stop: int) -> None:
        self._script.run(self._allocator, self._num_bytes, self.blocks, self._position, stop)
        self._position = stop

    def _forward_through(self, layers: EqualLayers) -> None:
        """Run layers until one repeats the one before, and the last of them, which has the highest peak."""
        size = self._size_of_output(layers)
        repeats = False
        for num_later in reversed(range(layers.num_layers)):
            output = self._allocator.allocate_at_growing_end(size) if repeats and num_later else None
            if output is not None:
                self.blocks += [output] * layers.num_blocks
                self._position += layers.num_operations
                continue
            before = self._free() if size else None
            self._run_to(self._position + layers.num_operations)
            repeats = before is not None and self._free() == before._replace(end=before.end + size)

    def _size_of_output(self, layers: EqualLayers) -> int:
        """Return the size of the one block that outlives a layer, 0 where there are others or where it frees some."""
        if len(layers.lasting) != 1 or layers.lasting[0][1] is None:
            return 0
        return self._num_bytes[self._script.operations[layers.start + layers.lasting[0][0]]]

    def _free(self) -> _Free | None:
        """List the free blocks, None without exactly one growing end, or where the device may be too small for it.

        Best fit takes that end last whatever its size, so how much of it is mapped decides nothing.
        """
        allocator = self._allocator
        end = allocator.growing_end()
        if end is None or allocator.settings.capacity_bytes is not None:
            return None
        return _Free([(block.size, block.place) for block in allocator.free_blocks() if block is not end], end.place)

    def _back_through(self, layers: EqualLayers) -> None:
        """Run layers; after one that took nothing from the device only what outlives the next one."""
        is_idle = False
        for _ in range(layers.num_layers):
            reserved = self._allocator.reserved_bytes
            if is_idle:
                self._pass(layers)
            else:
                self._run_to(self._position + layers.num_operations)
            is_idle = self._allocator.reserved_bytes == reserved

    def _pass(self, layers: EqualLayers) -> None:
        """Take and free what outlives a layer; the other blocks of its numbers are never asked for."""
        blocks, allocator, first = self.blocks, self._allocator, len(self.blocks)
        blocks += [blocks[0]] * layers.num_blocks
        for place, number in layers.lasting:
            operation = self._script.operations[self._position + place]
            if number is None:
                allocator.free(blocks[~operation])
            else:
                blocks[first + number] = allocator.allocate_rounded(self._num_bytes[operation])
        self._position += layers.num_operations
