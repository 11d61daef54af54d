"""PyTorch's CUDA caching allocator, so that a log of allocations tells how much memory the device must hold.

After `c10/cuda/CUDACachingAllocator.cpp` and `c10/core/AllocatorConfig.h` of PyTorch 2.13, for one stream: sizes are
rounded to 512 bytes; requests up to 1 MiB come from 2 MiB segments, up to 10 MiB from 20 MiB segments, larger ones
from segments of their own rounded to 2 MiB; best fit; remainders are split off; neighbours merge when freed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from kaitoc.compiler.memory.allocator.blocks import Block, FreeBlocks, Pool, copy_segment, merge_neighbours, split
from kaitoc.compiler.memory.allocator.expandable import AddressSpace
from kaitoc.compiler.memory.allocator.sizes import (
    OVERSIZE_TOLERANCE_BYTES,
    SMALL_REQUEST_BYTES,
    AllocatorSettings,
    rounded,
    segment_bytes,
)


class AllocatorOutOfMemoryError(RuntimeError):
    """A request that the device cannot hold, as `torch.OutOfMemoryError`."""


class CachingAllocator:
    """Segments and blocks of one device and stream, with PyTorch's counters."""

    def __init__(self, settings: AllocatorSettings | None = None) -> None:
        self.settings = settings or AllocatorSettings()
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.peak_allocated_bytes = 0
        self.peak_reserved_bytes = 0
        self._small = Pool(True, self.settings.expandable_segments)
        self._large = Pool(False, self.settings.expandable_segments)
        self._first_blocks: dict[int, Block] = {}
        self._address_space = AddressSpace()
        self._spares_growing_end = self.settings.expandable_segments and self.settings.spares_growing_end
        self._has_split_limit = self.settings.max_split_size_bytes is not None
        self._takes_any = not self._has_split_limit and not self._spares_growing_end
        self._next_place = 0
        self.num_retries = 0

    def raise_peak(self, num_bytes: int) -> None:
        """Count so many bytes as allocated at some time."""
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, num_bytes)

    def growing_end(self) -> Block | None:
        """Return the free block of the large pool behind which more is mapped, None where there is not exactly one."""
        unmapped = self._large.unmapped
        end = unmapped[0].before if len(unmapped) == 1 else None
        return end if end is not None and end.is_free else None

    def allocate_at_growing_end(self, size: int) -> Block | None:
        """Return a block of a rounded size from the lower end of it, None where it has not that much."""
        block = self.growing_end()
        if block is None or block.size <= size:
            return None
        self._large.remove(block)
        self._large.add(split(block, size))
        block.is_free = False
        self.allocated_bytes += size
        self.raise_peak(self.allocated_bytes)
        return block

    def free_blocks(self, *, is_small: bool) -> Iterator[Block]:
        """Yield the free blocks of a pool, the smallest first."""
        yield from self._small if is_small else self._large

    def with_residents(self) -> CachingAllocator:
        """Return a copy in which the blocks now in use stay so for good; segments that are full are not copied."""
        copied = CachingAllocator(self.settings)
        copied.allocated_bytes, copied.reserved_bytes = self.allocated_bytes, self.reserved_bytes
        copied.peak_allocated_bytes, copied.peak_reserved_bytes = self.peak_allocated_bytes, self.peak_reserved_bytes
        copied.num_retries, copied._next_place = self.num_retries, self._next_place
        for first in self._first_blocks.values():
            if any(block.is_free for block in first.chain()):
                pool = copied._small if first.pool.is_small else copied._large
                copied._first_blocks[first.place] = copy_segment(first, pool)
        copied._address_space = self._address_space.copy(copied._small, copied._large)
        for pool, own in ((copied._small, self._small), (copied._large, self._large)):
            pool.num_searches = own.num_searches
        return copied

    def allocate(self, num_bytes: int) -> Block:
        """Return a block for a request of `num_bytes`.

        Raises `AllocatorOutOfMemoryError` when the request does not fit even after giving all unused segments back.
        """
        block = self.allocate_rounded(rounded(num_bytes))
        block.requested_bytes = num_bytes
        return block

    def allocate_rounded(self, size: int) -> Block:
        """Return a block for a request that is `rounded` already; raises as `allocate` does."""
        pool = self._small if size <= SMALL_REQUEST_BYTES else self._large
        pool.num_searches += 1
        order = pool.order  # in place of the pool's methods: a replay asks thousands of times
        index = bisect_left(order, (size,))
        if not self._takes_any and index < len(order):
            after = order[index][2].after
            if self._has_split_limit or (after is not None and not after.is_mapped):
                index = self._chosen(order, index, size)
        block = order.pop(index)[2] if index < len(order) else self._grow(pool, size)
        if block.size != size and (pool.splits_any or self._should_split(block, size)):
            rest = split(block, size)
            insort(pool.order, (rest.size, rest.place, rest))
        block.is_free = False
        allocated = self.allocated_bytes = self.allocated_bytes + block.size
        if allocated > self.peak_allocated_bytes:
            self.peak_allocated_bytes = allocated
        return block

    def touch_rounded(self, size: int) -> None:
        """Allocate and free at once, as a kernel does its scratch memory; where a block is free only peaks change."""
        pool = self._small if size <= SMALL_REQUEST_BYTES else self._large
        pool.num_searches += 1
        order = pool.order
        index = bisect_left(order, (size,))
        if not self._takes_any and index < len(order):
            after = order[index][2].after
            if self._has_split_limit or (after is not None and not after.is_mapped):
                index = self._chosen(order, index, size)
        if index < len(order):
            block = order[index][2]
        else:
            block = self._grow(pool, size)
            pool.add(block)
        allocated = self.allocated_bytes + (size if self._should_split(block, size) else block.size)
        if allocated > self.peak_allocated_bytes:
            self.peak_allocated_bytes = allocated
        block.unused_since = pool.num_searches

    def free(self, block: Block) -> None:
        """Keep a block for later requests, merged with free neighbours. Raises ValueError when it is free already."""
        if block.is_free:
            raise ValueError(f"the block at {block.place:#x} is not allocated")
        self.allocated_bytes -= block.size
        block.is_free = True
        pool = block.pool
        block.unused_since = pool.num_searches
        whole = merge_neighbours(block)
        insort(pool.order, (whole.size, whole.place, whole))

    def empty_cache(self) -> None:
        """Give unused segments back to the device, as `torch.cuda.empty_cache` does."""
        for pool in (self._small, self._large):
            for block in pool:
                if pool.is_expandable:
                    self._reserve(-self._address_space.unmap(block))
                elif block.is_whole_segment:
                    self._release(block)

    def blocks(self) -> Iterator[Block]:
        """Yield every mapped block, segment by segment in order of places."""
        for first in (*self._first_blocks.values(), *self._address_space.first_blocks()):
            yield from (block for block in first.chain() if block.is_mapped)

    def _chosen(self, order: FreeBlocks, index: int, size: int) -> int:
        """`get_free_block`: pass over the best fit at `index` for a better one, or for none, past the end of the order.

        A growing end is spared, and a block above `max_split_size` not wasted on a smaller request.
        """
        if self._spares_growing_end:
            index = _least_expandable(order, index)
        limit, block = self.settings.max_split_size_bytes, order[index][2]
        if limit is None:
            return index
        is_wasted = size < limit <= block.size or (size >= limit and block.size >= size + OVERSIZE_TOLERANCE_BYTES)
        return len(order) if is_wasted else index

    def _should_split(self, block: Block, size: int) -> bool:
        """`should_split`: whether enough of a block remains to stand alone."""
        remaining = block.size - size
        if block.pool.splits_any:
            return remaining > 0
        limit = self.settings.max_split_size_bytes
        return remaining > SMALL_REQUEST_BYTES and (limit is None or size < limit)

    def _grow(self, pool: Pool, size: int) -> Block:
        """Take memory from the device; when it has none left, give ever more unused segments back and try again."""
        self._collect_garbage()
        block = self._try_grow(pool, size)
        self.num_retries += block is None
        if block is None and self._release_oversized(pool, size):
            block = self._try_grow(pool, size)
        if block is None:
            self.empty_cache()
            block = self._try_grow(pool, size)
        if block is None:
            raise AllocatorOutOfMemoryError(
                f"{size} bytes do not fit: {self.allocated_bytes} allocated and {self.reserved_bytes} reserved "
                f"of {self.settings.capacity_bytes}"
            )
        return block

    def _try_grow(self, pool: Pool, size: int) -> Block | None:
        if pool.is_expandable:
            return self._expand(pool, size)
        segment = segment_bytes(size)
        if not self._has_room(segment):
            return None
        block = Block(self._next_place, segment, pool)
        self._next_place += segment
        self._first_blocks[block.place] = block
        self._reserve(segment)
        return block

    def _expand(self, pool: Pool, size: int) -> Block | None:
        """`try_allocate_expandable_block`: map behind the lowest free end that has address space enough."""
        space = self._address_space
        unmapped = space.lowest_unmapped(pool, size)
        mapped = space.mapped_bytes(unmapped, size)
        if not self._has_room(mapped):
            return None
        self._reserve(mapped)
        block = space.map(unmapped, mapped)
        if block.size >= size:
            return block
        pool.add(block)
        return self._expand(pool, size)

    def _release(self, block: Block) -> None:
        block.pool.remove(block)
        del self._first_blocks[block.place]
        self._reserve(-block.size)

    def _release_oversized(self, pool: Pool, size: int) -> bool:
        """`release_available_cached_blocks`: give back one block above `max_split_size` that is large enough, or
        the largest ones until they are enough together; return whether they are.
        """
        limit = self.settings.max_split_size_bytes
        if limit is None or pool.is_expandable:
            return False
        wanted = max(size, limit)
        enough = pool.smallest(wanted)
        if enough is not None and enough.is_whole_segment:
            self._release(enough)
            return True
        released = 0
        for block in reversed([block for block in pool if block.size >= limit and block.is_whole_segment]):
            if released >= wanted:
                break
            released += block.size
            self._release(block)
        return released >= wanted

    def _collect_garbage(self) -> None:
        """`garbage_collect_cached_blocks`: above the threshold, give back the large segments unused for longest."""
        capacity, share = self.settings.capacity_bytes, self.settings.garbage_collection_threshold
        if capacity is None or not share or self.settings.expandable_segments:
            return
        surplus = self.reserved_bytes - int(share * capacity)
        pool = self._large
        idle = [block for block in pool if block.is_whole_segment]
        while surplus > 0 and idle:
            ages = [pool.num_searches - block.unused_since for block in idle]
            threshold = sum(ages) / len(ages)
            old = [block for block, age in zip(idle, ages, strict=True) if age >= threshold]
            idle = [block for block, age in zip(idle, ages, strict=True) if age < threshold]
            for block in old:
                if surplus > 0:
                    surplus -= block.size
                    self._release(block)

    def _has_room(self, num_bytes: int) -> bool:
        capacity = self.settings.capacity_bytes
        return capacity is None or self.reserved_bytes + num_bytes <= capacity

    def _reserve(self, num_bytes: int) -> None:
        self.reserved_bytes += num_bytes
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)


def _least_expandable(order: FreeBlocks, index: int) -> int:
    """Prefer a larger block inside a segment to one at its growing end, which counts as all it could grow to."""
    room = _room_to_grow(order[index][2])
    while room > order[index][0] and index + 1 < len(order):
        following = _room_to_grow(order[index + 1][2])
        if following >= room:
            break
        index, room = index + 1, following
    return index


def _room_to_grow(block: Block) -> int:
    after = block.after
    return block.size + (after.size if after is not None and not after.is_mapped else 0)
