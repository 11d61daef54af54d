"""PyTorch's CUDA caching allocator, so that a log of allocations tells how much memory the device must hold.

After `c10/cuda/CUDACachingAllocator.cpp` and `c10/core/AllocatorConfig.h` of PyTorch 2.13, for one stream: sizes are
rounded to 512 bytes; requests up to 1 MiB come from 2 MiB segments, up to 10 MiB from 20 MiB segments, larger ones
from segments of their own rounded to 2 MiB; best fit; remainders are split off; neighbours merge when freed.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.allocator.blocks import Block, Pool, merge_neighbours, split

MIN_BLOCK_BYTES = 512
SMALL_REQUEST_BYTES = 1 << 20
SMALL_SEGMENT_BYTES = 2 << 20
LARGE_SEGMENT_BYTES = 20 << 20
LARGE_REQUEST_BYTES = 10 << 20
SEGMENT_ROUNDING_BYTES = 2 << 20
OVERSIZE_TOLERANCE_BYTES = 20 << 20
"""`max_non_split_rounding_size`: how much larger than an oversized request the block it reuses may be."""

_ADDRESS_SPACE_BYTES = 1 << 50
"""Stands for the 9/8 of the device's memory that PyTorch reserves of address space, which one stream cannot fill."""


class AllocatorOutOfMemoryError(RuntimeError):
    """A request that the device cannot hold, as `torch.OutOfMemoryError`."""


@dataclass(frozen=True, slots=True)
class AllocatorSettings:
    """What `PYTORCH_CUDA_ALLOC_CONF` sets. `capacity_bytes` is what PyTorch may take of the device, None for no limit.

    `garbage_collection_threshold` is a share of the capacity and has no effect without one; 0 turns it off.
    """

    expandable_segments: bool = False
    max_split_size_bytes: int | None = None
    garbage_collection_threshold: float = 0.0
    capacity_bytes: int | None = None


class CachingAllocator:
    """Segments and blocks of one device and stream, with PyTorch's counters."""

    def __init__(self, settings: AllocatorSettings | None = None) -> None:
        self.settings = settings or AllocatorSettings()
        self.allocated_bytes = 0
        self.reserved_bytes = 0
        self.peak_allocated_bytes = 0
        self.peak_reserved_bytes = 0
        self._pools = {is_small: Pool(is_small, self.settings.expandable_segments) for is_small in (True, False)}
        self._first_blocks: dict[int, Block] = {}
        self._expandable: dict[bool, Block] = {}
        self._next_place = 0

    def allocate(self, num_bytes: int) -> Block:
        """Return a block for a request of `num_bytes`.

        Raises `AllocatorOutOfMemoryError` when the request does not fit even after giving all unused segments back.
        """
        size = rounded(num_bytes)
        pool = self._pools[size <= SMALL_REQUEST_BYTES]
        block = self._find(pool, size) or self._grow(pool, size)
        if self._should_split(block, size):
            pool.add(split(block, size))
        block.is_free = False
        block.requested_bytes = num_bytes
        self.allocated_bytes += block.size
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return block

    def free(self, block: Block) -> None:
        """Keep a block for later requests, merged with free neighbours. Raises ValueError when it is free already."""
        if block.is_free:
            raise ValueError(f"the block at {block.place:#x} is not allocated")
        self.allocated_bytes -= block.size
        block.is_free = True
        block.unused_since = block.pool.num_searches
        block.pool.add(merge_neighbours(block))

    def empty_cache(self) -> None:
        """Give unused segments back to the device, as `torch.cuda.empty_cache` does."""
        for pool in self._pools.values():
            for block in pool:
                if pool.is_expandable:
                    self._unmap(block)
                elif block.is_whole_segment:
                    self._release(block)

    def blocks(self) -> Iterator[Block]:
        """Yield every mapped block, segment by segment in order of places."""
        for first in self._first_blocks.values():
            block: Block | None = first
            while block is not None:
                if block.is_mapped:
                    yield block
                block = block.after

    def _find(self, pool: Pool, size: int) -> Block | None:
        """`get_free_block`: best fit, never wasting a block above `max_split_size` on a smaller request."""
        pool.num_searches += 1
        block = pool.smallest(size)
        if block is None:
            return None
        if pool.is_expandable:
            block = _least_expandable(pool, block)
        limit = self.settings.max_split_size_bytes
        if limit is not None and size < limit <= block.size:
            return None
        if limit is not None and size >= limit and block.size >= size + OVERSIZE_TOLERANCE_BYTES:
            return None
        pool.remove(block)
        return block

    def _should_split(self, block: Block, size: int) -> bool:
        remaining = block.size - size
        if block.pool.is_small or block.pool.is_expandable:
            return remaining >= MIN_BLOCK_BYTES
        limit = self.settings.max_split_size_bytes
        return remaining > SMALL_REQUEST_BYTES and (limit is None or size < limit)

    def _grow(self, pool: Pool, size: int) -> Block:
        """Take memory from the device; when it has none left, give ever more unused segments back and try again."""
        self._collect_garbage()
        block = self._try_grow(pool, size)
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
        unmapped = self._lowest_unmapped(pool, size)
        before = unmapped.before
        held = before.size if before is not None and before.is_free and before.is_mapped else 0
        mapped = _round_up(size - held, SMALL_SEGMENT_BYTES if pool.is_small else LARGE_SEGMENT_BYTES)
        mapped = min(mapped, unmapped.size)
        if not self._has_room(mapped):
            return None
        if mapped < unmapped.size:
            split(unmapped, mapped)
        unmapped.is_mapped = True
        self._reserve(mapped)
        block = merge_neighbours(unmapped)
        if block.size >= size:
            return block
        pool.add(block)
        return self._expand(pool, size)

    def _lowest_unmapped(self, pool: Pool, size: int) -> Block:
        """`find_expandable_block`: the lowest address space that makes up the size with the free blocks around it."""
        block: Block | None = self._expandable_range(pool)
        available = 0
        candidate: Block | None = None
        while block is not None:
            if not block.is_free:
                available, candidate = 0, None
            else:
                available += block.size
                candidate = candidate or (None if block.is_mapped else block)
                if candidate is not None and available >= size:
                    return candidate
            block = block.after
        raise AllocatorOutOfMemoryError(f"no address space for {size} bytes")

    def _expandable_range(self, pool: Pool) -> Block:
        if pool.is_small not in self._expandable:
            place = len(self._expandable) * _ADDRESS_SPACE_BYTES
            first = Block(place, _ADDRESS_SPACE_BYTES, pool, is_mapped=False)
            self._expandable[pool.is_small] = self._first_blocks[place] = first
        return self._expandable[pool.is_small]

    def _unmap(self, block: Block) -> None:
        """`unmap_block`: give back the whole mapping steps that a free block of an expandable segment covers."""
        step = SMALL_SEGMENT_BYTES if block.pool.is_small else LARGE_SEGMENT_BYTES
        start = _round_up(block.place % _ADDRESS_SPACE_BYTES, step)
        lead = start - block.place % _ADDRESS_SPACE_BYTES
        covered = (block.size - lead) // step * step
        if covered <= 0:
            return
        block.pool.remove(block)
        middle = split(block, lead) if lead else block
        if lead:
            block.pool.add(block)
        if middle.size > covered:
            block.pool.add(split(middle, covered))
        middle.is_mapped = False
        self._reserve(-covered)
        merge_neighbours(middle)

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
        pool = self._pools[False]
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


def rounded(num_bytes: int) -> int:
    """Return the size of the block that a request needs (`round_size`)."""
    return max(MIN_BLOCK_BYTES, _round_up(num_bytes, MIN_BLOCK_BYTES))


def segment_bytes(size: int) -> int:
    """Return the size of a new segment for a rounded request (`get_allocation_size`)."""
    if size <= SMALL_REQUEST_BYTES:
        return SMALL_SEGMENT_BYTES
    if size < LARGE_REQUEST_BYTES:
        return LARGE_SEGMENT_BYTES
    return _round_up(size, SEGMENT_ROUNDING_BYTES)


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step


def _least_expandable(pool: Pool, block: Block) -> Block:
    """Prefer a larger block inside a segment to one at its growing end, which counts as all it could grow to."""
    following = pool.next_larger(block)
    while following is not None and _room_to_grow(following) < _room_to_grow(block):
        block, following = following, pool.next_larger(following)
    return block


def _room_to_grow(block: Block) -> int:
    after = block.after
    return block.size + (after.size if after is not None and not after.is_mapped else 0)
