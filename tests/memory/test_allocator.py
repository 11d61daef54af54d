"""PyTorch's documented allocator behaviour, and the laws that no sequence of requests may break."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import AllocatorOutOfMemoryError, CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings

KIB = 1 << 10
MIB = 1 << 20
EXPANDABLE = AllocatorSettings(expandable_segments=True)


@pytest.mark.parametrize(("requested", "allocated"), [(1, 512), (512, 512), (513, 1024), (MIB, MIB)])
def test_requests_are_rounded_to_512_bytes(requested: int, allocated: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(requested)
    assert allocator.allocated_bytes == allocated


@pytest.mark.parametrize(
    ("requested", "reserved"),
    [
        (1, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 1, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 1, 12 * MIB),
        (33 * MIB, 34 * MIB),
    ],
)
def test_segments_are_2_mib_then_20_mib_then_a_multiple_of_2_mib(requested: int, reserved: int) -> None:
    allocator = CachingAllocator()
    allocator.allocate(requested)
    assert allocator.reserved_bytes == reserved


def test_small_requests_share_a_segment_and_large_ones_another() -> None:
    allocator = CachingAllocator()
    for size in (512 * KIB, 512 * KIB, 4 * MIB, 6 * MIB):
        allocator.allocate(size)
    assert allocator.reserved_bytes == 22 * MIB


def test_the_smallest_free_block_that_is_large_enough_is_reused() -> None:
    allocator = CachingAllocator()
    freed = [allocator.allocate(size * MIB) for size in (40, 20, 30)]
    for block in freed:
        allocator.free(block)
    assert allocator.allocate(19 * MIB + 512 * KIB).place == freed[1].place


def test_a_remainder_of_1_mib_or_less_stays_with_a_large_block_and_counts_as_allocated() -> None:
    allocator = CachingAllocator()
    allocator.allocate(11 * MIB)
    assert allocator.allocated_bytes == allocator.reserved_bytes == 12 * MIB


def test_a_larger_remainder_is_split_off() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(32 * MIB))
    allocator.allocate(16 * MIB)
    allocator.allocate(16 * MIB)
    assert allocator.reserved_bytes == allocator.allocated_bytes == 32 * MIB


def test_freed_neighbours_serve_one_larger_request() -> None:
    allocator = CachingAllocator()
    blocks = [allocator.allocate(5 * MIB) for _ in range(4)]
    for block in (blocks[0], blocks[2], blocks[1], blocks[3]):
        allocator.free(block)
    allocator.allocate(20 * MIB)
    assert allocator.reserved_bytes == 20 * MIB


def test_fragments_of_different_segments_never_merge() -> None:
    allocator = CachingAllocator()
    for block in [allocator.allocate(16 * MIB) for _ in range(2)]:
        allocator.free(block)
    allocator.allocate(32 * MIB)
    assert allocator.reserved_bytes == 64 * MIB


def test_expandable_segments_grow_instead() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    for block in [allocator.allocate(20 * MIB) for _ in range(2)]:
        allocator.free(block)
    allocator.allocate(60 * MIB)
    assert allocator.reserved_bytes == 60 * MIB


def test_expandable_segments_are_mapped_in_steps_of_20_mib_and_split_to_the_request() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    allocator.allocate(21 * MIB)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (21 * MIB, 40 * MIB)


def test_emptying_the_cache_unmaps_the_inside_of_an_expandable_segment() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    blocks = [allocator.allocate(20 * MIB) for _ in range(3)]
    allocator.free(blocks[1])
    allocator.empty_cache()
    assert allocator.reserved_bytes == 40 * MIB
    assert allocator.allocate(20 * MIB).place == blocks[1].place


def test_emptying_the_cache_keeps_segments_in_use() -> None:
    allocator = CachingAllocator()
    kept, freed = allocator.allocate(4 * MIB), allocator.allocate(4 * MIB)
    allocator.free(allocator.allocate(50 * MIB))
    allocator.free(freed)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 20 * MIB
    allocator.free(kept)
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0


def test_blocks_above_the_split_limit_are_not_split() -> None:
    allocator = CachingAllocator(AllocatorSettings(max_split_size_bytes=64 * MIB))
    allocator.free(allocator.allocate(128 * MIB))
    allocator.allocate(16 * MIB)
    assert allocator.reserved_bytes == 144 * MIB


def test_a_request_above_the_split_limit_takes_a_block_at_most_20_mib_larger() -> None:
    allocator = CachingAllocator(AllocatorSettings(max_split_size_bytes=64 * MIB))
    allocator.free(allocator.allocate(128 * MIB))
    allocator.free(allocator.allocate(110 * MIB))
    assert allocator.reserved_bytes == 128 * MIB
    allocator.allocate(100 * MIB)
    assert allocator.reserved_bytes == 228 * MIB


def test_unused_segments_are_given_back_before_memory_runs_out() -> None:
    allocator = CachingAllocator(AllocatorSettings(capacity_bytes=100 * MIB))
    allocator.free(allocator.allocate(60 * MIB))
    allocator.allocate(80 * MIB)
    assert allocator.reserved_bytes == 80 * MIB


@pytest.mark.parametrize("expandable", [False, True])
def test_a_request_beyond_the_capacity_is_refused(expandable: bool) -> None:
    allocator = CachingAllocator(AllocatorSettings(expandable_segments=expandable, capacity_bytes=100 * MIB))
    allocator.allocate(60 * MIB)
    with pytest.raises(AllocatorOutOfMemoryError, match="do not fit"):
        allocator.allocate(60 * MIB)
    assert allocator.allocated_bytes == 60 * MIB


def test_garbage_collection_gives_back_the_segments_unused_for_longest() -> None:
    settings = AllocatorSettings(capacity_bytes=200 * MIB, garbage_collection_threshold=0.5)
    allocator = CachingAllocator(settings)
    allocator.free(allocator.allocate(60 * MIB))
    allocator.free(allocator.allocate(80 * MIB))
    allocator.allocate(90 * MIB)
    assert allocator.reserved_bytes == (80 + 90) * MIB


def test_freeing_twice_is_an_error() -> None:
    allocator = CachingAllocator()
    block = allocator.allocate(1)
    allocator.free(block)
    with pytest.raises(ValueError, match="not allocated"):
        allocator.free(block)


sizes = st.one_of(st.integers(1, 4 * KIB), st.integers(1, 3 * MIB), st.integers(1, 80 * MIB))
steps = st.lists(st.tuples(sizes, st.sampled_from(["allocate", "allocate", "free", "empty"])), max_size=60)
configurations = st.builds(
    AllocatorSettings,
    expandable_segments=st.booleans(),
    max_split_size_bytes=st.sampled_from([None, 20 * MIB, 64 * MIB]),
    garbage_collection_threshold=st.sampled_from([0.0, 0.6]),
    capacity_bytes=st.sampled_from([None, 100 * MIB]),
)


@given(configurations, steps)
def test_blocks_never_overlap_and_counters_add_up(settings: AllocatorSettings, work: list[tuple[int, str]]) -> None:
    allocator = CachingAllocator(settings)
    held = []
    for size, action in work:
        if action == "empty":
            allocator.empty_cache()
        elif action == "free" and held:
            allocator.free(held.pop(size % len(held)))
        else:
            try:
                held.append(allocator.allocate(size))
            except AllocatorOutOfMemoryError:
                assert settings.capacity_bytes is not None
        _hold_laws(allocator, settings)
    for block in held:
        assert block.size >= block.requested_bytes
        allocator.free(block)
    _hold_laws(allocator, settings)
    allocator.empty_cache()
    assert allocator.allocated_bytes == allocator.reserved_bytes == 0


def _hold_laws(allocator: CachingAllocator, settings: AllocatorSettings) -> None:
    blocks = sorted(allocator.blocks(), key=lambda block: block.place)
    for left, right in pairwise(blocks):
        assert left.place + left.size <= right.place, "blocks overlap"
        if left.after is right:
            assert not (left.is_free and right.is_free), "free neighbours were not merged"
    assert sum(block.size for block in blocks) == allocator.reserved_bytes
    assert sum(block.size for block in blocks if not block.is_free) == allocator.allocated_bytes
    assert allocator.allocated_bytes <= allocator.reserved_bytes <= allocator.peak_reserved_bytes
    if settings.capacity_bytes is not None:
        assert allocator.reserved_bytes <= settings.capacity_bytes


@pytest.mark.parametrize("settings", [AllocatorSettings(), EXPANDABLE], ids=["segments", "expandable"])
def test_a_copy_with_residents_goes_on_as_the_original_would(settings: AllocatorSettings) -> None:
    dice = Random(3)
    original = CachingAllocator(settings)
    residents = [original.allocate(dice.choice((3 * KIB, 700 * KIB, 5 * MIB, 33 * MIB))) for _ in range(60)]
    for block in residents[::4]:
        original.free(block)
    copied = original.with_residents()

    for allocator in (original, copied):
        dice, blocks = Random(5), list[Block]()
        for _ in range(300):
            if blocks and dice.random() < 0.5:
                allocator.free(blocks.pop(dice.randrange(len(blocks))))
            else:
                blocks.append(allocator.allocate(dice.choice((KIB, 90 * KIB, 2 * MIB, 9 * MIB, 50 * MIB))))
        allocator.empty_cache()

    assert copied.reserved_bytes == original.reserved_bytes
    assert copied.peak_allocated_bytes == original.peak_allocated_bytes
    assert copied.peak_reserved_bytes == original.peak_reserved_bytes


def test_a_block_comes_from_the_growing_end_though_another_would_fit_better() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    hole, _, end = (allocator.allocate(size * MIB) for size in (20, 20, 40))
    allocator.free(hole)
    allocator.free(end)
    block = allocator.allocate_at_growing_end(20 * MIB)

    assert block is not None
    assert block.place == end.place
    assert allocator.allocated_bytes == 40 * MIB


def test_nothing_comes_from_an_end_that_is_too_small_or_not_there() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    allocator.allocate(30 * MIB)

    assert allocator.allocate_at_growing_end(20 * MIB) is None
    assert CachingAllocator().allocate_at_growing_end(20 * MIB) is None
