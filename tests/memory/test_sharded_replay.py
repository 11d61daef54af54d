"""What the streams of a sharded step keep from each other in the allocator."""

from __future__ import annotations

from array import array

from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.script import STREAM_SHIFT, CudaStream, Script
from kaitoc.compiler.memory.closed_form.sharding.replay import MAX_INFLIGHT_GATHERS, StreamPools
from kaitoc.compiler.memory.closed_form.size import fixed

BLOCK_BYTES = 64 << 20


def on(stream: CudaStream) -> int:
    """Return the operation that allocates a block on a stream."""
    return stream << STREAM_SHIFT


def reserved_blocks(*operations: int, num_pending: int = 0) -> int:
    """Return how many blocks the pools hold after operations on blocks of one size."""
    settings = AllocatorSettings(expandable_segments=False, spares_growing_end=False)
    pools = StreamPools(settings, num_pending)
    pools.run(Script(array("q", operations), (fixed(BLOCK_BYTES),), (), 0, (), ()), 1, 1)
    return pools.reserved_bytes // BLOCK_BYTES


def test_a_freed_block_is_used_again_by_its_own_stream_alone() -> None:
    taken = on(CudaStream.COMPUTE), ~0

    assert reserved_blocks(*taken, on(CudaStream.COMPUTE)) == 1
    assert reserved_blocks(*taken, on(CudaStream.REDUCE)) == 2
    assert reserved_blocks(*taken, on(CudaStream.GATHER)) == 2


def test_fsdp2_uses_a_gradient_that_was_reduced_again_at_once_and_fsdp1_after_the_next_gathers() -> None:
    lent = on(CudaStream.LENT), ~0
    one_more = on(CudaStream.LENT), ~1

    assert reserved_blocks(*lent, *one_more) == 1
    assert reserved_blocks(*lent, *one_more, num_pending=MAX_INFLIGHT_GATHERS) == 2


def test_what_a_step_leaves_behind_is_freed_in_its_own_pool() -> None:
    """Gradients of two steps: the second step's take the place of the first's, which are on the stream that reduces."""
    pools = StreamPools(AllocatorSettings(expandable_segments=False, spares_growing_end=False), 0)
    script = Script(array("q", [on(CudaStream.REDUCE)]), (fixed(BLOCK_BYTES),), (0,), 0, (), ())
    for _ in range(2):
        for stream, block in pools.run(script, 1, 1):
            pools.free(stream, block)

    assert pools.reserved_bytes == BLOCK_BYTES
