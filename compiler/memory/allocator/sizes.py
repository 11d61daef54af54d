"""How PyTorch's caching allocator rounds requests and segments, and what can be set of it."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass

MIN_BLOCK_BYTES = 512
SMALL_REQUEST_BYTES = 1 << 20
SMALL_SEGMENT_BYTES = 2 << 20
LARGE_SEGMENT_BYTES = 20 << 20
LARGE_REQUEST_BYTES = 10 << 20
SEGMENT_ROUNDING_BYTES = 2 << 20
OVERSIZE_TOLERANCE_BYTES = 20 << 20
"""`max_non_split_rounding_size`: how much larger than an oversized request the block it reuses may be."""


@dataclass(frozen=True, slots=True)
class AllocatorSettings:
    """What `PYTORCH_CUDA_ALLOC_CONF` sets. `capacity_bytes` is what PyTorch may take of the device, None for no limit.

    `garbage_collection_threshold` is a share of the capacity and has no effect without one; 0 turns it off.
    `spares_growing_end`: best fit takes the free block at the growing end of an expandable segment for as large as it
    could grow, as PyTorch does; the closed form replays without this.
    """

    expandable_segments: bool = False
    max_split_size_bytes: int | None = None
    garbage_collection_threshold: float = 0.0
    capacity_bytes: int | None = None
    spares_growing_end: bool = True


def rounded(num_bytes: int) -> int:
    """Return the size of the block that a request needs (`round_size`)."""
    return max(MIN_BLOCK_BYTES, round_up(num_bytes, MIN_BLOCK_BYTES))


def segment_bytes(size: int) -> int:
    """Return the size of a new segment for a rounded request (`get_allocation_size`)."""
    if size <= SMALL_REQUEST_BYTES:
        return SMALL_SEGMENT_BYTES
    if size < LARGE_REQUEST_BYTES:
        return LARGE_SEGMENT_BYTES
    return round_up(size, SEGMENT_ROUNDING_BYTES)


def round_up(size: int, step: int) -> int:
    """Return the next multiple of a step."""
    return -(-size // step) * step
