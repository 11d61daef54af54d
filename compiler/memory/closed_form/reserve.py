"""What the caching allocator keeps beyond live tensors, by replaying a step's script through it.

Steps are replayed at powers of two of the token count (of the sequence length with eager attention, whose scores grow
with its square), between which the share of fragmentation is interpolated; a step with TRL's chunks as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.step_script import script_of
from kaitoc.compiler.memory.workload import Allocator, Attention, Loss, Workload
from kaitoc.compiler.memory.workload_key import adapter_shape, key_of_step, tells_single


def fragmentation_shares(workload: Workload) -> tuple[float, float]:
    """Return reserved minus allocated, as a share of what the step adds to the resident state, and the most of it.

    The most is that of a loop in which the host never waits for the GPU, which matters to FSDP1 alone.
    """
    likely = most = 0.0
    for step, weight in replayed_steps(workload):
        shares = replayed_shares(step)
        likely += weight * shares[0]
        most += weight * shares[1]
    return likely, most


def replayed_steps(workload: Workload) -> tuple[tuple[Workload, float], ...]:
    """Return the steps to replay for a workload with the weight of each, the weightier first."""
    if _is_chunked(workload):
        return ((replace(workload, lora=adapter_shape(workload.lora), num_gpus=1, double_quant=False), 1.0),)
    is_square = workload.attention is Attention.EAGER
    size = workload.seq_len_tokens if is_square else workload.batch_size * workload.seq_len_tokens
    exponent = max(0, size.bit_length() - 1)
    position = size / (1 << exponent) - 1.0
    lora = adapter_shape(workload.lora)
    num_gpus = workload.num_gpus if workload.sharding.is_sharded else 1
    num_rows = 1 if is_square else _num_rows(workload)
    alone = replace(workload, lora=lora, batch_size=num_rows, num_gpus=num_gpus, double_quant=False, accumulates=False)
    below = (replace(alone, seq_len_tokens=(1 << exponent) // num_rows), 1.0 - position)
    if position == 0.0:
        return (below,)
    above = (replace(alone, seq_len_tokens=(2 << exponent) // num_rows), position)
    return (above, below) if above[1] > below[1] else (below, above)


def _num_rows(workload: Workload) -> int:
    """Return the rows to replay a step with: under shards two where several are told from one.

    Alone it is one row, by which every figure of a single GPU is published.
    """
    is_told = workload.sharding.is_sharded and workload.batch_size > 1 and tells_single(workload)
    return 2 if is_told else 1


@lru_cache(maxsize=1024)
def replayed_shares(workload: Workload) -> tuple[float, float]:
    """Return the share of fragmentation from replaying a step, and the most; two steps where the optimizer's state is
    large: that of full fine-tuning is born after the first backward pass, in blocks that the second pass then lacks.
    """
    if workload.sharding.is_sharded:
        from kaitoc.compiler.memory.closed_form.sharding.replay import sharded_shares  # for few jobs

        return sharded_shares(workload)
    if _is_chunked(workload):
        return (_share_of_chunks(workload),) * 2
    plan, script = plan_for(workload), script_of(key_of_step(workload))
    allocator = CachingAllocator(
        AllocatorSettings(expandable_segments=workload.allocator is Allocator.EXPANDABLE, spares_growing_end=False)
    )
    for number in range(2 if plan.trains_base else 1):
        left = script.replay(allocator, workload.batch_size, workload.seq_len_tokens)
        if number == 0:
            _allocate(allocator, state_sizes(workload.optimizer, plan.trainable))
        after = () if workload.steps_in_backward else step_sizes(workload.optimizer, plan.trainable)
        for block in _allocate(allocator, after):
            allocator.free(block)
        for block in left:
            allocator.free(block)
    peak = allocator.peak_allocated_bytes
    share = (allocator.reserved_bytes - peak) / max(1, peak)
    return share, share


def _is_chunked(workload: Workload) -> bool:
    return workload.loss is Loss.CHUNKED and not workload.sharding.is_sharded


def _share_of_chunks(workload: Workload) -> float:
    """Return the share from replaying the very step tensor by tensor, weights included.

    Each chunk of TRL's loss takes the output layer's size again and again. Whether such a block finds room depends on
    single tensors, on the shorter last chunk and on gradients that are held. What the first update left behind decides
    it for the second, and a third finds the same; a growing range of memory is whole again after each step, but for the
    large states of a model that is trained whole.
    """
    from kaitoc.compiler.memory.closed_form.replay import replay_batches  # takes units of shards
    from kaitoc.compiler.memory.closed_form.resident import resident_bytes

    accumulation_steps = 2 if workload.accumulates else 1
    is_whole = workload.allocator is Allocator.EXPANDABLE and workload.lora is not None
    replayed = replay_batches(
        workload,
        [BatchShape(workload.batch_size, workload.seq_len_tokens)] * (accumulation_steps * (1 if is_whole else 2)),
        accumulation_steps=accumulation_steps,
        has_states=is_whole,
    )
    moving_bytes = replayed.allocated_bytes - resident_bytes(workload)
    return (replayed.reserved_bytes - replayed.allocated_bytes) / max(1, moving_bytes)


def _allocate(allocator: CachingAllocator, sizes: Sequence[int]) -> list[Block]:
    return [allocator.allocate(size) for size in sizes]
