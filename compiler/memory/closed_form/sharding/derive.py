"""The moments of a sharded step that can be its peak, and its script of allocations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.memory.closed_form.model import reference_stream_of, stream_of
from kaitoc.compiler.memory.closed_form.peak import Moment
from kaitoc.compiler.memory.closed_form.script import Script
from kaitoc.compiler.memory.closed_form.sharding.fsdp1 import Fsdp1
from kaitoc.compiler.memory.closed_form.sharding.fsdp2 import Fsdp2
from kaitoc.compiler.memory.closed_form.sharding.reader import ShardedPeakReader, ShardedScriptReader
from kaitoc.compiler.memory.closed_form.sharding.schedule import Memory, Schedule
from kaitoc.compiler.memory.closed_form.sharding.state import as_computed, shard_state_of
from kaitoc.compiler.memory.closed_form.sharding.units import units_of
from kaitoc.compiler.memory.closed_form.sharding.zero3 import Zero3
from kaitoc.compiler.memory.closed_form.unroll import unroll
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.memory.workload_key import of_any_size


@lru_cache(maxsize=256)
def moments_of(workload: Workload, accumulates: bool) -> Mapping[Phase, tuple[Moment, ...]]:
    """Return the moments of a process that can be the peak of a phase, on top of what it keeps, at any size."""
    reader = ShardedPeakReader()
    reader.follow(schedule_for(reader, workload, accumulates))
    state = shard_state_of(workload, accumulates=accumulates)
    adds_up = accumulates and not state.held_gradient_bytes
    held_bytes = state.gradient_bytes if adds_up else state.held_gradient_bytes
    computed = as_computed(workload)
    return reader.moments_of(stream_of(computed), reference_stream_of(computed), held_bytes)


def sharded_script(workload: Workload) -> Script:
    """Return a process's allocations in a step, for any batch size and sequence length."""
    return _script(of_any_size(workload), workload.accumulates)


@lru_cache(maxsize=256)
def _script(workload: Workload, accumulates: bool) -> Script:
    computed = as_computed(workload)
    for runs_all_layers in (False, True):
        reader = ShardedScriptReader(runs_all_layers=runs_all_layers)
        reader.follow(schedule_for(reader, workload, accumulates))
        reader.read_sharded(stream_of(computed), reference_stream_of(computed))
        script = unroll(reader.events, reader.runs)
        if script is not None:
            return script
    raise RuntimeError("a recording of all layers has no groups that could differ")


def schedule_for(memory: Memory, workload: Workload, accumulates: bool) -> Schedule:
    """Build the schedule of gathers and reductions of a workload's sharding, which calls `memory`."""
    sharding = workload.sharding
    num_shards = sharding.group_of(workload.num_gpus)
    how = memory, units_of(workload), sharding, num_shards, workload.num_gpus // num_shards, accumulates
    if sharding.kind is ShardingKind.FSDP2:
        return Fsdp2(*how)
    if sharding.kind is ShardingKind.ZERO3:
        return Zero3(*how)
    is_reentrant = workload.gradient_checkpointing and find_stack(workload.stack).reentrant_checkpointing
    return Fsdp1(*how, recomputes_reentrantly=is_reentrant)
