"""What PyTorch's caching allocator keeps beyond live tensors, by replaying one derived step through its rules.

The rules are those of `c10/cuda/CUDACachingAllocator.cpp` (PyTorch 2.2 to 2.13): sizes rounded to 512 bytes; requests
up to 1 MiB from 2 MiB segments, up to 10 MiB from 20 MiB segments, larger ones from segments rounded to 2 MiB; best
fit; a block is split when more than 1 MiB (small: 512 bytes) remains; neighbours merge when freed. Expandable segments
are one growing range per pool, mapped in 20 MiB steps, in which every remainder can be split off.
"""

from __future__ import annotations

from bisect import bisect_left, insort

ROUNDING = 512
SMALL_REQUEST = 1 << 20
SMALL_SEGMENT = 2 << 20
LARGE_SEGMENT = 20 << 20
LARGE_REQUEST = 10 << 20
SEGMENT_ROUNDING = 2 << 20


class Block:
    """A piece of a segment with its neighbours."""

    __slots__ = ("after", "before", "is_free", "is_small", "place", "size")

    def __init__(self, place: int, size: int, is_small: bool) -> None:
        self.place = place
        self.size = size
        self.is_small = is_small
        self.is_free = True
        self.before: Block | None = None
        self.after: Block | None = None


class Segments:
    """Segments of one stream; counts what is live and what is reserved."""

    def __init__(self, expandable: bool) -> None:
        self.allocated = 0
        self.reserved = 0
        self.peak_allocated = 0
        self._expandable = expandable
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}
        self._next_place = 0
        self._has_state = False
        self._last: dict[bool, Block | None] = {True: None, False: None}

    def allocate(self, num_bytes: int) -> Block:
        """Return a block for a request, from a free one by best fit or from new memory."""
        return self.allocate_rounded(self.rounded(num_bytes))

    @staticmethod
    def rounded(num_bytes: int) -> int:
        """Return the size of the block that a request gets."""
        return max(ROUNDING, -(-num_bytes // ROUNDING) * ROUNDING)

    def allocate_rounded(self, size: int) -> Block:
        """Return a block for a request of a rounded size."""
        is_small = size <= SMALL_REQUEST
        free = self._free[is_small]
        index = bisect_left(free, (size,))
        block = free.pop(index)[2] if index < len(free) else self._grow(size, is_small)
        if block.size != size:
            self._split(block, size)
        block.is_free = False
        self.allocated += block.size
        if self.allocated > self.peak_allocated:
            self.peak_allocated = self.allocated
        return block

    def touch(self, size: int) -> None:
        """Take a block of a rounded size and give it back; where one is free, only the peak can change."""
        free = self._free[size <= SMALL_REQUEST]
        index = bisect_left(free, (size,))
        if index == len(free):
            self.free(self.allocate_rounded(size))
            return
        block = free[index][2]
        taken = size if self._can_split(block, size) else block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated + taken)

    @property
    def has_state(self) -> bool:
        """Whether the optimizer's state was allocated."""
        return self._has_state

    def hold_state(self, sizes: list[int]) -> None:
        """Allocate the optimizer's state, which stays."""
        self._has_state = True
        for size in sizes:
            self.allocate(size)

    def pass_through(self, sizes: list[int]) -> None:
        """Allocate tensors together and give them back."""
        for block in [self.allocate(size) for size in sizes]:
            self.free(block)

    def free(self, block: Block) -> None:
        """Give a block back and merge it with free neighbours."""
        self.allocated -= block.size
        block.is_free = True
        free = self._free[block.is_small]
        after, before = block.after, block.before
        if after is not None and after.is_free:
            del free[bisect_left(free, (after.size, after.place))]
            self._merge(block, after)
        if before is not None and before.is_free:
            del free[bisect_left(free, (before.size, before.place))]
            self._merge(before, block)
            block = before
        insort(free, (block.size, block.place, block))

    def _grow(self, size: int, is_small: bool) -> Block:
        if self._expandable:
            return self._expand(size, is_small)
        if is_small:
            segment = SMALL_SEGMENT
        elif size < LARGE_REQUEST:
            segment = LARGE_SEGMENT
        else:
            segment = -(-size // SEGMENT_ROUNDING) * SEGMENT_ROUNDING
        return self._new_block(segment, is_small)

    def _expand(self, size: int, is_small: bool) -> Block:
        step = SMALL_SEGMENT if is_small else LARGE_SEGMENT
        last = self._last[is_small]
        if last is not None and last.is_free:
            self._forget(last)
            grown = -(-(size - last.size) // step) * step
            last.size += grown
            self.reserved += grown
            return last
        block = self._new_block(-(-size // step) * step, is_small)
        if last is not None:
            last.after, block.before = block, last
        self._last[is_small] = block
        return block

    def _new_block(self, segment: int, is_small: bool) -> Block:
        self._next_place += 1
        block = Block(self._next_place << 60, segment, is_small)
        if self._expandable:
            last = self._last[is_small]
            block.place = last.place + last.size if last is not None else (1 if is_small else 2) << 60
        self.reserved += segment
        return block

    def _can_split(self, block: Block, size: int) -> bool:
        """Return whether enough of a block remains to stand alone."""
        remaining = block.size - size
        return remaining > SMALL_REQUEST or (remaining > 0 and (block.is_small or self._expandable))

    def _split(self, block: Block, size: int) -> None:
        if not self._can_split(block, size):
            return
        rest = Block(block.place + size, block.size - size, block.is_small)
        rest.before, rest.after = block, block.after
        if block.after is not None:
            block.after.before = rest
        block.after, block.size = rest, size
        if self._last[block.is_small] is block:
            self._last[block.is_small] = rest
        insort(self._free[block.is_small], (rest.size, rest.place, rest))

    def _merge(self, left: Block, right: Block) -> None:
        left.size += right.size
        left.after = right.after
        if right.after is not None:
            right.after.before = left
        if self._last[left.is_small] is right:
            self._last[left.is_small] = left

    def _forget(self, block: Block) -> None:
        free = self._free[block.is_small]
        del free[bisect_left(free, (block.size, block.place))]
