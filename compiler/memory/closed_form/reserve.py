"""What the caching allocator keeps beyond live tensors, by replaying a step's script through it.

Steps are replayed at powers of two of the token count (of the sequence length with eager attention, whose scores grow
with its square), between which the share of fragmentation is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings
from kaitoc.compiler.memory.closed_form.model import reference_stream_of, stream_of
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.script import Script, ScriptReader
from kaitoc.compiler.memory.closed_form.surroundings import setup_of
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.workload import Allocator, Attention, Workload
from kaitoc.compiler.memory.workload_key import adapter_shape, key_of_step


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
    is_square = workload.attention is Attention.EAGER
    size = workload.seq_len_tokens if is_square else workload.batch_size * workload.seq_len_tokens
    exponent = max(0, size.bit_length() - 1)
    position = size / (1 << exponent) - 1.0
    lora = adapter_shape(workload.lora)
    num_gpus = workload.num_gpus if workload.sharding.is_sharded else 1
    alone = replace(workload, lora=lora, batch_size=1, num_gpus=num_gpus, double_quant=False, accumulates=False)
    below = (replace(alone, seq_len_tokens=1 << exponent), 1.0 - position)
    if position == 0.0:
        return (below,)
    above = (replace(alone, seq_len_tokens=2 << exponent), position)
    return (above, below) if above[1] > below[1] else (below, above)


@lru_cache(maxsize=1024)
def replayed_shares(workload: Workload) -> tuple[float, float]:
    """Return the share of fragmentation from replaying a step, and the most; two steps where the optimizer's state is
    large: that of full fine-tuning is born after the first backward pass, in blocks that the second pass then lacks.
    """
    if workload.sharding.is_sharded:
        from kaitoc.compiler.memory.closed_form.sharding.replay import sharded_shares  # for few jobs

        return sharded_shares(workload)
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


@lru_cache(maxsize=256)
def script_of(workload: Workload, *, adds_up: bool = False, is_detailed: bool = False) -> Script:
    """Derive a step's allocations, for any batch size and sequence length.

    With `adds_up` it finds the gradients of batches before it: its own are added to them and given up, each as soon as
    it is complete. `is_detailed` goes tensor by tensor; every published figure of a single step is without it.
    """
    stream, reference = stream_of(workload), reference_stream_of(workload)
    prepare = setup_of(workload)
    for runs_all_layers in (True,) if workload.offloads_activations else (False, True):
        reader = _reader(is_detailed=is_detailed, runs_all_layers=runs_all_layers)
        prepare(reader)
        if adds_up:
            reader.step_scratch = _nothing
        reader.step(stream, reference)
        script = unroll(reader.events, reader.runs, reader.num_forward, reader.kept)
        if script is not None:
            return script
    raise RuntimeError("a recording of all layers has no groups that could differ")


def _reader(*, is_detailed: bool, runs_all_layers: bool) -> ScriptReader:
    if not is_detailed:
        return ScriptReader(runs_all_layers=runs_all_layers)
    from kaitoc.compiler.memory.closed_form.detailed_script import DetailedScriptReader  # for lengths that vary alone

    return DetailedScriptReader(runs_all_layers=runs_all_layers)


def _nothing(_num_bytes: int) -> int:
    return 0


def _allocate(allocator: CachingAllocator, sizes: Sequence[int]) -> list[Block]:
    return [allocator.allocate(size) for size in sizes]
