"""Expandable segments: a range of addresses for each pool, which memory is mapped into in steps.

After `expandable_segments:True` of PyTorch's `c10/cuda/CUDACachingAllocator.cpp` (2.13).
"""

from __future__ import annotations

from kaitoc.compiler.memory.allocator.blocks import Block, Pool, copy_segment, merge_neighbours, split
from kaitoc.compiler.memory.allocator.sizes import LARGE_SEGMENT_BYTES, SMALL_SEGMENT_BYTES, round_up

_ADDRESS_SPACE_BYTES = 1 << 50
"""Stands for the 9/8 of the device's memory that PyTorch reserves of address space, which one stream cannot fill."""


class AddressSpace:
    """The expandable segments of one device and stream, made as pools first need them."""

    def __init__(self) -> None:
        self._first: dict[bool, Block] = {}

    def first_blocks(self) -> list[Block]:
        """Return the lowest block of every segment."""
        return list(self._first.values())

    def copy(self, small: Pool, large: Pool) -> AddressSpace:
        """Copy the segments into the pools of another allocator (`copy_segment`)."""
        copied = AddressSpace()
        for is_small, first in self._first.items():
            copied._first[is_small] = copy_segment(first, small if is_small else large)
        return copied

    def lowest_unmapped(self, pool: Pool, size: int) -> Block:
        """`find_expandable_block`: the lowest address space that makes up the size with the free blocks around it.

        The last of it has no end: PyTorch reserves more of it than a device has memory, so the device is full before.
        """
        if pool.is_small not in self._first:
            place = len(self._first) * _ADDRESS_SPACE_BYTES
            pool.unmapped.append(Block(place, _ADDRESS_SPACE_BYTES, pool, is_mapped=False))
            self._first[pool.is_small] = pool.unmapped[0]
        for unmapped in pool.unmapped:
            before = unmapped.before
            available = before.size if before is not None and before.is_free else 0
            block: Block | None = unmapped
            while block is not None and block.is_free and available < size:
                available += block.size
                block = block.after
            if available >= size:
                return unmapped
        last = pool.unmapped[-1]
        last.size += size
        return last

    def mapped_bytes(self, unmapped: Block, size: int) -> int:
        """Compute the bytes to map for a request, minus the free block before it."""
        before = unmapped.before
        held = before.size if before is not None and before.is_free and before.is_mapped else 0
        return min(round_up(size - held, _step(unmapped.pool)), unmapped.size)

    def map(self, unmapped: Block, num_bytes: int) -> Block:
        """Map the lower end of an address range; return the free block there, with its free neighbours."""
        ranges = unmapped.pool.unmapped
        place = ranges.index(unmapped)
        ranges[place : place + 1] = [split(unmapped, num_bytes)] if num_bytes < unmapped.size else []
        unmapped.is_mapped = True
        return merge_neighbours(unmapped)

    def unmap(self, block: Block) -> int:
        """`unmap_block`: give back the whole mapping steps that a free block covers; return their bytes."""
        pool = block.pool
        step = _step(pool)
        offset = block.place % _ADDRESS_SPACE_BYTES
        lead = round_up(offset, step) - offset
        covered = (block.size - lead) // step * step
        if covered <= 0:
            return 0
        pool.remove(block)
        middle = split(block, lead) if lead else block
        if lead:
            pool.add(block)
        if middle.size > covered:
            pool.add(split(middle, covered))
        middle.is_mapped = False
        merge_neighbours(middle)
        pool.unmapped = [item for item in self._first[pool.is_small].chain() if not item.is_mapped]
        return covered


def _step(pool: Pool) -> int:
    return SMALL_SEGMENT_BYTES if pool.is_small else LARGE_SEGMENT_BYTES
