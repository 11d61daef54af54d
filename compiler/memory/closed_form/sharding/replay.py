"""Replays the script of a sharded step, whose gathers have a stream and so a pool of memory of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings, rounded
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.script import ASIDE, TOUCH, Script
from kaitoc.compiler.memory.closed_form.sharding.derive import sharded_script
from kaitoc.compiler.memory.closed_form.sharding.load import LoadStep, load_steps
from kaitoc.compiler.memory.closed_form.sharding.state import trained_shards
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.workload import Allocator, Workload

MAX_INFLIGHT_GATHERS = 2
"""`_FreeEventQueue._max_num_inflight_all_gathers` (`torch/distributed/fsdp/_limiter_utils.py`)."""


class StreamPools:
    """The pools of the stream that computes and of the one that gathers.

    `num_pending` freed blocks of the latter cannot be used again yet: FSDP1 frees them while the computation that
    reads them is still queued (`record_stream`), and waits for the last but one (`limit_all_gathers`,
    `_FreeEventQueue`). FSDP2 orders its streams by events instead.
    """

    def __init__(self, settings: AllocatorSettings, num_pending: int) -> None:
        self.computing, self.gathering = CachingAllocator(settings), CachingAllocator(settings)
        self.peak_allocated_bytes = 0
        self._num_pending = num_pending
        self._pending: deque[Block] = deque()
        self._pending_bytes = 0

    @property
    def reserved_bytes(self) -> int:
        """Return what both pools hold."""
        return self.computing.reserved_bytes + self.gathering.reserved_bytes

    def load(self, steps: Iterable[LoadStep]) -> None:
        """Load the model; what passed through whole leaves segments behind."""
        for step in steps:
            whole = [self.computing.allocate(size) for size in (*step.whole, *step.flat)]
            for size in step.shards:
                self.computing.allocate(size)
            for block in whole:
                self.computing.free(block)

    def run(self, script: Script, batch_size: int, seq_len_tokens: int) -> list[Block]:
        """Run a script; return the blocks that it leaves behind, those of the stream that computes."""
        num_bytes = [rounded(size.at(batch_size, seq_len_tokens)) for size in script.sizes]
        blocks: list[Block] = []
        aside: set[int] = set()
        for operation in script.operations:
            if operation < 0:
                self._free(blocks[~operation], is_aside=~operation in aside)
            elif operation >= ASIDE:
                aside.add(len(blocks))
                blocks.append(self._gather(num_bytes[operation - ASIDE]))
                self.note()
            elif operation >= TOUCH:
                size = num_bytes[operation - TOUCH]
                self.computing.touch_rounded(size)
                self.note(size)
            else:
                blocks.append(self.computing.allocate_rounded(num_bytes[operation]))
                self.note()
        return [blocks[number] for number in script.left if number not in aside]

    def note(self, touched_bytes: int = 0) -> None:
        """Note what is allocated now."""
        allocated = self.computing.allocated_bytes + self.gathering.allocated_bytes - self._pending_bytes
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, allocated + touched_bytes)

    def _gather(self, num_bytes: int) -> Block:
        while len(self._pending) > max(0, self._num_pending - 1):
            block = self._pending.popleft()
            self._pending_bytes -= block.size
            self.gathering.free(block)
        return self.gathering.allocate_rounded(num_bytes)

    def _free(self, block: Block, *, is_aside: bool) -> None:
        if is_aside and self._num_pending:
            self._pending.append(block)
            self._pending_bytes += block.size
        else:
            (self.gathering if is_aside else self.computing).free(block)


def sharded_share(workload: Workload) -> float:
    """Return the share of fragmentation from replaying a step on one process, as `replayed_share` does."""
    trained, script = trained_shards(workload), sharded_script(workload)
    settings = AllocatorSettings(
        expandable_segments=workload.allocator is Allocator.EXPANDABLE, spares_growing_end=False
    )
    is_fsdp1 = workload.sharding.kind is ShardingKind.FSDP1
    pools = StreamPools(settings, MAX_INFLIGHT_GATHERS if is_fsdp1 else 0)
    pools.load(load_steps(workload))
    loaded_bytes = pools.computing.allocated_bytes
    keeps_optimizer = workload.sharding.offload is Offload.NONE
    for number in range(2 if workload.lora is None else 1):
        left = pools.run(script, workload.batch_size, workload.seq_len_tokens)
        if keeps_optimizer:
            states = state_sizes(workload.optimizer, trained) if number == 0 else []
            for size in states:
                pools.computing.allocate(size)
            scratch = [pools.computing.allocate(size) for size in step_sizes(workload.optimizer, trained)]
            pools.note()
            for block in scratch:
                pools.computing.free(block)
        for block in left:
            pools.computing.free(block)
    peak = pools.peak_allocated_bytes
    return (pools.reserved_bytes - peak) / max(1, peak - loaded_bytes)
