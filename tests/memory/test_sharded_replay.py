"""What the streams of a sharded step keep from each other in the allocator."""

from __future__ import annotations

from array import array
from dataclasses import replace

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.reserve import replayed_steps
from kaitoc.compiler.memory.closed_form.script import STREAM_SHIFT, CudaStream, Script
from kaitoc.compiler.memory.closed_form.sharding.derive import sharded_script
from kaitoc.compiler.memory.closed_form.sharding.load import LoadStep, load_steps
from kaitoc.compiler.memory.closed_form.sharding.replay import (
    MAX_INFLIGHT_GATHERS,
    MAX_PENDING_LAUNCHES,
    StreamPools,
    sharded_shares,
)
from kaitoc.compiler.memory.closed_form.size import fixed
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind
from kaitoc.compiler.memory.workload import Lora, Quantization, Workload

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


def test_several_rows_are_replayed_as_several_where_one_is_computed_in_another_way() -> None:
    santacoder, mistral = find_model("santacoder"), find_model("mistral-7b-v0.1")
    sharding = Sharding(ShardingKind.FSDP2)
    four_rows = Workload(santacoder, None, 4, 2048, "transformers-5", num_gpus=2, sharding=sharding)
    asked = four_rows, replace(four_rows, batch_size=1), replace(four_rows, architecture=mistral)
    rows_and_tokens = [
        (step.batch_size, step.batch_size * step.seq_len_tokens)
        for workload in asked
        for step, _ in replayed_steps(workload)
    ]
    assert rows_and_tokens == [(2, 8192), (1, 2048), (1, 8192)]


def test_a_host_that_waits_for_the_gpu_takes_no_more_than_one_that_runs_ahead() -> None:
    waiting, running = sharded_shares(fsdp1_lora())
    of_fsdp2 = replace(fsdp1_lora(), sharding=Sharding(ShardingKind.FSDP2))

    assert waiting < running
    assert len(set(sharded_shares(of_fsdp2))) == 1


def buffers_kept(num_steps: int, *, num_launches: int, runs_ahead: bool) -> int:
    """Return how many buffers are left of steps that each receive one."""
    pools = StreamPools(AllocatorSettings(expandable_segments=False, spares_growing_end=False), 0)
    pools.load([LoadStep((), sent=(BLOCK_BYTES,), num_launches=num_launches)] * num_steps, runs_ahead=runs_ahead)
    return pools.reserved_bytes // BLOCK_BYTES


def test_a_process_that_receives_the_model_ahead_of_the_sender_takes_new_buffers_until_its_host_has_to_wait() -> None:
    assert buffers_kept(100, num_launches=1, runs_ahead=False) == 1
    assert buffers_kept(100, num_launches=1, runs_ahead=True) == 100
    assert buffers_kept(100, num_launches=MAX_PENDING_LAUNCHES // 4, runs_ahead=True) == 5


def test_only_four_bit_weights_without_data_on_the_others_are_received_ahead() -> None:
    reads_once = Sharding(ShardingKind.FSDP1, ram_efficient_loading=True, packed_on_host=True)
    four_bit = replace(fsdp1_lora(), sharding=reads_once, quantization=Quantization.NF4, autocast=None)

    def share(step: Workload, *, others_hold_nothing: bool) -> float:
        sharding = replace(step.sharding, others_hold_nothing=others_hold_nothing)
        return sharded_shares(replace(step, sharding=sharding))[0]

    assert share(four_bit, others_hold_nothing=True) > share(four_bit, others_hold_nothing=False)
    for step in (fsdp1_lora(), replace(four_bit, quantization=Quantization.NONE)):
        assert share(step, others_hold_nothing=True) == share(step, others_hold_nothing=False)


def test_a_single_large_tensor_is_sent_as_it_is_and_small_ones_together() -> None:
    """A buffer is full from 250 MiB on."""
    model = find_model("mixtral-8x7b")
    assert model is not None
    sharding = Sharding(ShardingKind.FSDP1, ram_efficient_loading=True)
    step = replace(fsdp1_lora(), architecture=model, sharding=sharding)
    layer, *_, root = load_steps(step)

    assert layer.sent[1] >> 20 == 3 * 112, "three matrices of an expert"
    assert len(root.sent) == 1, "the embedding fills a buffer by itself; norm and head share one"
