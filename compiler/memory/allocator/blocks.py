"""The pieces of memory that the caching allocator hands out: blocks, neighbours, and pools of free blocks.

After `Block` and `BlockPool` of PyTorch's `c10/cuda/CUDACachingAllocator.cpp` (2.13).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator


class Block:
    """A range of one segment with its neighbours there; `is_mapped` is False for mere address space."""

    __slots__ = ("after", "before", "is_free", "is_mapped", "place", "pool", "requested_bytes", "size", "unused_since")

    def __init__(self, place: int, size: int, pool: Pool, *, is_mapped: bool = True) -> None:
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


class Pool:
    """Free blocks of one pool, ordered by size and then by place, as best fit wants them."""

    def __init__(self, is_small: bool, is_expandable: bool) -> None:
        self.is_small = is_small
        self.is_expandable = is_expandable
        self.num_searches = 0
        self._order: list[tuple[int, int]] = []
        self._by_place: dict[int, Block] = {}

    def __iter__(self) -> Iterator[Block]:
        return (self._by_place[place] for _, place in tuple(self._order))

    def add(self, block: Block) -> None:
        """Offer a free block."""
        insort(self._order, (block.size, block.place))
        self._by_place[block.place] = block

    def remove(self, block: Block) -> None:
        """Withdraw a block, before its size or place changes."""
        del self._order[bisect_left(self._order, (block.size, block.place))]
        del self._by_place[block.place]

    def smallest(self, size: int) -> Block | None:
        """Return the smallest free block of at least `size` bytes, the lowest of equals; None when there is none."""
        index = bisect_left(self._order, (size, -1))
        return self._by_place[self._order[index][1]] if index < len(self._order) else None

    def next_larger(self, block: Block) -> Block | None:
        """Return the free block that follows in the order of sizes."""
        index = bisect_left(self._order, (block.size, block.place)) + 1
        return self._by_place[self._order[index][1]] if index < len(self._order) else None


def split(block: Block, size: int) -> Block:
    """Cut a block after `size` bytes and return the rest, a free neighbour that is in no pool yet."""
    rest = Block(block.place + size, block.size - size, block.pool, is_mapped=block.is_mapped)
    rest.before, rest.after = block, block.after
    if block.after is not None:
        block.after.before = rest
    block.after, block.size = rest, size
    rest.unused_since = block.unused_since
    return rest


def merge_neighbours(block: Block) -> Block:
    """Join a free block with free neighbours of its kind, taking those out of their pool; return the whole."""
    before, after = block.before, block.after
    if after is not None and _can_join(block, after):
        _absorb(block, after)
    if before is not None and _can_join(before, block):
        if before.is_mapped:
            before.pool.remove(before)
        _absorb(before, block, is_listed=False)
        return before
    return block


def _can_join(left: Block, right: Block) -> bool:
    return left.is_free and right.is_free and left.is_mapped is right.is_mapped


def _absorb(left: Block, right: Block, *, is_listed: bool = True) -> None:
    if is_listed and right.is_mapped:
        right.pool.remove(right)
    left.size += right.size
    left.after = right.after
    if right.after is not None:
        right.after.before = left
