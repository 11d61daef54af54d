"""What the streams of a sharded step keep from each other in the allocator."""

from __future__ import annotations

from array import array
from dataclasses import replace

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.script import STREAM_SHIFT, CudaStream, Script
from kaitoc.compiler.memory.closed_form.sharding.derive import sharded_script
from kaitoc.compiler.memory.closed_form.sharding.replay import MAX_INFLIGHT_GATHERS, StreamPools, sharded_shares
from kaitoc.compiler.memory.closed_form.size import fixed
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Lora, Workload

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


def fsdp1_lora() -> Workload:
    """Return two GPUs under FSDP1, whose reentrant checkpoints stay until the backward pass has ended."""
    model = find_model("qwen2.5-0.5b")
    assert model is not None
    return Workload(
        model, Lora(rank=16), 1, 1024, "transformers-4.45", gradient_checkpointing=True, num_gpus=2,
        sharding=Sharding(ShardingKind.FSDP1),
    )  # fmt: skip


def test_a_step_gives_everything_back_but_gradients() -> None:
    pools, script = StreamPools(AllocatorSettings(), MAX_INFLIGHT_GATHERS), sharded_script(fsdp1_lora())

    for stream, block in pools.run(script, 1, 1024):
        pools.free(stream, block)
    pools.await_gpu()

    assert pools.computing.allocated_bytes == 0


def test_the_second_step_takes_room_that_the_first_did_not_and_a_third_none() -> None:
    pools, script = StreamPools(AllocatorSettings(), MAX_INFLIGHT_GATHERS), sharded_script(fsdp1_lora())

    reserved = []
    for _ in range(3):
        for stream, block in pools.run(script, 1, 1024):
            pools.free(stream, block)
        reserved.append(pools.reserved_bytes)

    assert reserved[0] < reserved[1] == reserved[2]


def test_a_host_that_waits_for_the_gpu_takes_no_more_than_one_that_runs_ahead() -> None:
    waiting, running = sharded_shares(fsdp1_lora())
    of_fsdp2 = replace(fsdp1_lora(), sharding=Sharding(ShardingKind.FSDP2))

    assert waiting < running
    assert len(set(sharded_shares(of_fsdp2))) == 1
