"""The pieces of memory that the caching allocator hands out: blocks, neighbours, and pools of free blocks.

After `Block` and `BlockPool` of PyTorch's `c10/cuda/CUDACachingAllocator.cpp` (2.13).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator


class Block:
    """A range of one segment with its neighbours there; `is_mapped` is False for mere address space."""

    __slots__ = ("after", "before", "is_free", "is_mapped", "place", "pool", "requested_bytes", "size", "unused_since")

    def __init__(self, place: int, size: int, pool: Pool, is_mapped: bool = True) -> None:
        self.place = place
        self.size = size
        self.pool = pool
        self.is_mapped = is_mapped
        self.is_free = True
        self.requested_bytes = 0
        self.unused_since = 0
        self.before: Block | None = None
        self.after: Block | None = None

    @property
    def is_whole_segment(self) -> bool:
        """Whether the block has no neighbours, so that its segment can be given back."""
        return self.before is None and self.after is None

    def chain(self) -> Iterator[Block]:
        """Yield this block and all that come after it in its segment."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.after


FreeBlocks = list[tuple[int, int, Block]]
"""Free blocks with their sizes and places, in their order."""


class Pool:
    """Free blocks of one pool; `order` is by size and then by place, as best fit wants them.

    `splits_any`: any remainder of a block stands alone, as sizes are whole blocks of 512 bytes. `unmapped` are the
    ranges of mere address space of an expandable segment, the lowest first.
    """

    def __init__(self, is_small: bool, is_expandable: bool) -> None:
        self.is_small = is_small
        self.is_expandable = is_expandable
        self.splits_any = is_small or is_expandable
        self.num_searches = 0
        self.unmapped: list[Block] = []
        self.order: FreeBlocks = []

    def __iter__(self) -> Iterator[Block]:
        return iter([entry[2] for entry in self.order])

    def add(self, block: Block) -> None:
        """Offer a free block."""
        insort(self.order, (block.size, block.place, block))

    def remove(self, block: Block) -> None:
        """Withdraw a block, before its size or place changes."""
        order = self.order
        del order[bisect_left(order, (block.size, block.place))]

    def smallest(self, size: int) -> Block | None:
        """Return the smallest free block of at least `size` bytes, the lowest of equals; None when there is none."""
        order = self.order
        index = bisect_left(order, (size,))
        return order[index][2] if index < len(order) else None


def copy_segment(first: Block, pool: Pool) -> Block:
    """Copy a segment's blocks into a pool, neighbours in use as one block; return the first."""
    copied: list[Block] = []
    for block in first.chain():
        if copied and not (block.is_free or copied[-1].is_free):
            copied[-1].size += block.size
            continue
        copy = Block(block.place, block.size, pool, block.is_mapped)
        copy.is_free, copy.unused_since = block.is_free, block.unused_since
        if copied:
            copy.before, copied[-1].after = copied[-1], copy
        copied.append(copy)
        if not copy.is_mapped:
            pool.unmapped.append(copy)
        elif copy.is_free:
            pool.add(copy)
    return copied[0]


def split(block: Block, size: int) -> Block:
    """Cut a block after `size` bytes and return the rest, a free neighbour that is in no pool yet."""
    rest = Block(block.place + size, block.size - size, block.pool, block.is_mapped)
    after = block.after
    rest.before, rest.after = block, after
    if after is not None:
        after.before = rest
    block.after, block.size = rest, size
    rest.unused_since = block.unused_since
    return rest


def merge_neighbours(block: Block) -> Block:
    """Join a free block with free neighbours of its kind, taking those out of their pool; return the whole."""
    before, after, is_mapped = block.before, block.after, block.is_mapped
    order = block.pool.order
    if after is not None and after.is_free and after.is_mapped is is_mapped:
        if is_mapped:
            del order[bisect_left(order, (after.size, after.place))]
        _absorb(block, after)
    if before is not None and before.is_free and before.is_mapped is is_mapped:
        if is_mapped:
            del order[bisect_left(order, (before.size, before.place))]
        _absorb(before, block)
        return before
    return block


def _absorb(left: Block, right: Block) -> None:
    left.size += right.size
    after = left.after = right.after
    if after is not None:
        after.before = left
