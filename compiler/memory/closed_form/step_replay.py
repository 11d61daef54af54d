"""Replays one step's script through an allocator and passes over layers that do as the one before them.

Equal layers mostly find what the one before has left. Going forward through checkpoints in expandable segments each
takes its output off the growing end and leaves the other free blocks as they were. Going back with adapters most take
nothing from the device, or no more than small blocks for their gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import SMALL_REQUEST_BYTES
from kaitoc.compiler.memory.closed_form.script import TOUCH, EqualLayers, Script

SizesAndPlaces = list[tuple[int, int]]
"""Those of free blocks, by which two states of a pool are told apart."""


class _Large(NamedTuple):
    """The free blocks of the large pool, and where the growing end begins.

    Best fit takes that end last whatever its size, so how much of it is mapped decides nothing.
    """

    others: SizesAndPlaces
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
            large = self._large() if size else None
            small = self._small() if large is not None else []
            self._run_to(self._position + layers.num_operations)
            grown = large and large._replace(end=large.end + size)
            repeats = grown is not None and self._large() == grown and self._small() == small

    def _size_of_output(self, layers: EqualLayers) -> int:
        """Return the size of the one block that outlives a layer, 0 where there are others or where it frees some."""
        if len(layers.lasting) != 1 or layers.lasting[0][1] is None:
            return 0
        return self._num_bytes[self._script.operations[layers.start + layers.lasting[0][0]]]

    def _small(self) -> SizesAndPlaces:
        return [(block.size, block.place) for block in self._allocator.free_blocks(is_small=True)]

    def _large(self) -> _Large | None:
        """List the free blocks; None without exactly one growing end, or where the device may be too small for it."""
        allocator = self._allocator
        end = allocator.growing_end()
        if end is None or allocator.settings.capacity_bytes is not None:
            return None
        blocks = allocator.free_blocks(is_small=False)
        return _Large([(block.size, block.place) for block in blocks if block is not end], end.place)

    def _back_through(self, layers: EqualLayers) -> None:
        """Run layers; after one that took nothing from the device only what outlives the next one.

        One that finds the free blocks of another does the same with its large ones, of which no more is then run.
        """
        allocator, is_alone = self._allocator, self._is_alone(layers)
        is_idle, found, peak_beyond_start = False, None, 0
        for _ in range(layers.num_layers):
            reserved, start = allocator.reserved_bytes, allocator.allocated_bytes
            large = self._large() if is_alone and not is_idle else None
            if is_idle:
                self._pass(layers, layers.lasting)
            elif found is not None and large is not None and large.others == found.others and large.end <= found.end:
                self._pass(layers, self._small_operations(layers))
                allocator.raise_peak(start + peak_beyond_start)
            else:
                found, peak_beyond_start = large, self._run_for_peak(layers)
            is_idle = allocator.reserved_bytes == reserved

    def _is_alone(self, layers: EqualLayers) -> bool:
        """Whether all that a layer leaves behind is small, and it frees what was there before it once it is done."""
        operations = self._script.operations[layers.start : layers.start + layers.num_operations]
        end = max((place for place, operation in enumerate(operations) if operation >= 0), default=-1)
        return all(
            place > end if number is None else self._num_bytes[operations[place]] <= SMALL_REQUEST_BYTES
            for place, number in layers.lasting
        )

    def _run_for_peak(self, layers: EqualLayers) -> int:
        """Run a layer; return by how much more it has at its peak than before it."""
        allocator = self._allocator
        peak, start = allocator.peak_allocated_bytes, allocator.allocated_bytes
        allocator.peak_allocated_bytes = start
        self._run_to(self._position + layers.num_operations)
        beyond = allocator.peak_allocated_bytes - start
        allocator.raise_peak(peak)
        return beyond

    def _small_operations(self, layers: EqualLayers) -> list[tuple[int, int | None]]:
        """List the places of what a layer does in the small pool, and of what outlives it, as `lasting` has them."""
        operations, num_bytes, first = self._script.operations, self._num_bytes, len(self.blocks)
        lasting, small, places = {place for place, _ in layers.lasting}, set[int](), list[tuple[int, int | None]]()
        num_blocks = 0
        for place in range(layers.num_operations):
            operation = operations[self._position + place]
            if operation >= TOUCH:
                if num_bytes[operation - TOUCH] <= SMALL_REQUEST_BYTES:
                    places.append((place, None))
            elif operation >= 0:
                if num_bytes[operation] <= SMALL_REQUEST_BYTES:
                    small.add(first + num_blocks)
                    places.append((place, num_blocks))
                num_blocks += 1
            elif place in lasting or ~operation in small:
                places.append((place, None))
        return places

    def _pass(self, layers: EqualLayers, places: Iterable[tuple[int, int | None]]) -> None:
        """Run the operations at these places of a layer; the other blocks of its numbers are never asked for."""
        blocks, allocator, first = self.blocks, self._allocator, len(self.blocks)
        blocks += [blocks[0]] * layers.num_blocks
        for place, number in places:
            operation = self._script.operations[self._position + place]
            if number is not None:
                blocks[first + number] = allocator.allocate_rounded(self._num_bytes[operation])
            elif operation < 0:
                allocator.free(blocks[~operation])
            else:
                allocator.touch_rounded(self._num_bytes[operation - TOUCH])
        self._position += layers.num_operations
