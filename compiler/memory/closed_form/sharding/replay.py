"""Replays the script of a sharded step, whose gathers have a stream and so a pool of memory of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from kaitoc.compiler.memory.allocator.blocks import Block
from kaitoc.compiler.memory.allocator.caching import CachingAllocator
from kaitoc.compiler.memory.allocator.sizes import AllocatorSettings, rounded
from kaitoc.compiler.memory.closed_form.optimizer import state_sizes, step_sizes
from kaitoc.compiler.memory.closed_form.script import STREAM_SHIFT, TOUCH, CudaStream, Script
from kaitoc.compiler.memory.closed_form.sharding.derive import sharded_script
from kaitoc.compiler.memory.closed_form.sharding.load import LoadStep, load_steps, receives_ahead, waits_on_gpu
from kaitoc.compiler.memory.closed_form.sharding.state import trained_shards
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.workload import Allocator, Workload

MAX_INFLIGHT_GATHERS = 2
"""`_FreeEventQueue._max_num_inflight_all_gathers` (`torch/distributed/fsdp/_limiter_utils.py`)."""

MAX_PENDING_LAUNCHES = 1024
"""How far a host runs ahead of its GPU: a launch waits while so many are queued in its stream (measured:
https://forums.developer.nvidia.com/t/68937, https://stackoverflow.com/questions/53970187)."""
_NUM_BUFFERS_IN_FLIGHT = 2
"""`max_in_flight` of `broadcast_coalesced` (`torch/csrc/distributed/c10d/comm.cpp`)."""


class _Broadcasts:
    """The buffers that parameters are sent to the other processes in.

    NCCL's stream uses them, so that none is used again before NCCL is done with it (`recordStream` in
    `ProcessGroupNCCL.cpp`). A host that waits for its GPU has two at a time; one that runs ahead takes new ones until
    so many launches are pending that it has to wait.
    """

    def __init__(self, pool: CachingAllocator, *, runs_ahead: bool) -> None:
        self._pool = pool
        self._runs_ahead = runs_ahead
        self._in_flight: deque[tuple[int, Block]] = deque()
        self._num_launches = 0

    def send(self, step: LoadStep) -> None:
        """Take the buffers of a step."""
        for size in step.sent:
            while self._in_flight and self._is_done():
                self._pool.free(self._in_flight.popleft()[1])
            self._in_flight.append((self._num_launches, self._pool.allocate(size)))
        self._num_launches += step.num_launches
        if not self._runs_ahead:
            self.finish()

    def _is_done(self) -> bool:
        if self._runs_ahead:
            return self._num_launches - self._in_flight[0][0] > MAX_PENDING_LAUNCHES
        return len(self._in_flight) >= _NUM_BUFFERS_IN_FLIGHT

    def finish(self) -> None:
        """Give back what is left."""
        while self._in_flight:
            self._pool.free(self._in_flight.popleft()[1])


class StreamPools:
    """The pools of the streams that compute, gather and reduce.

    `num_pending` freed blocks of gathers, and of gradients on their way to be reduced, cannot be used again yet: FSDP1
    frees them while what reads them is still queued (`record_stream`), and waits for the last but one
    (`limit_all_gathers`, `_FreeEventQueue`). FSDP2 orders its streams by events instead. Shards of gradients are
    allocated by the stream that reduces (`_post_backward_stream`, `reduce_scatter_stream`), whose blocks no layer can
    take.
    """

    def __init__(self, settings: AllocatorSettings, num_pending: int) -> None:
        self.computing = CachingAllocator(settings)
        gathering, reducing = CachingAllocator(settings), CachingAllocator(settings)
        self._owners = self.computing, gathering, reducing
        self._pools = {
            CudaStream.COMPUTE: self.computing,
            CudaStream.GATHER: gathering,
            CudaStream.REDUCE: reducing,
            CudaStream.LENT: self.computing,
        }
        self.peak_allocated_bytes = 0
        self._num_pending = num_pending
        self._pending: dict[CudaStream, deque[Block]] = {CudaStream.GATHER: deque(), CudaStream.LENT: deque()}
        self._pending_bytes = 0

    @property
    def reserved_bytes(self) -> int:
        """Return the bytes that all pools hold."""
        return sum(pool.reserved_bytes for pool in self._owners)

    def load(self, steps: Sequence[LoadStep], *, waits_on_gpu: bool = False, runs_ahead: bool = False) -> None:
        """Load the model; what passed through whole leaves segments behind. With `waits_on_gpu` all of it comes first.

        What the other processes keep of it depends on whether their hosts run ahead of their GPUs (`receives_ahead`).
        """
        sent = _Broadcasts(self.computing, runs_ahead=runs_ahead)
        waiting = deque([self.computing.allocate(size) for size in step.whole] for step in steps if waits_on_gpu)
        for step in steps:
            whole = waiting.popleft() if waits_on_gpu else [self.computing.allocate(size) for size in step.whole]
            sent.send(step)
            whole += [self.computing.allocate(size) for size in step.flat]
            for size in step.shards:
                self.computing.allocate(size)
            if waits_on_gpu:
                self.note()
            for block in whole:
                self.computing.free(block)
        sent.finish()

    def run(self, script: Script, batch_size: int, seq_len_tokens: int) -> list[tuple[CudaStream, Block]]:
        """Run a script; return the blocks that it leaves behind, each with its stream."""
        num_bytes = [rounded(size.at(batch_size, seq_len_tokens)) for size in script.sizes]
        blocks: list[tuple[CudaStream, Block]] = []
        for operation in script.operations:
            if operation < 0:
                self.free(*blocks[~operation])
                continue
            stream = CudaStream(operation >> STREAM_SHIFT)
            if stream is not CudaStream.COMPUTE:
                if stream is CudaStream.GATHER:
                    self.await_gpu(max(0, self._num_pending - 1))
                size = num_bytes[operation & (1 << STREAM_SHIFT) - 1]
                blocks.append((stream, self._pools[stream].allocate_rounded(size)))
                self.note()
            elif operation >= TOUCH:
                size = num_bytes[operation - TOUCH]
                self.computing.touch_rounded(size)
                self.note(size)
            else:
                blocks.append((stream, self.computing.allocate_rounded(num_bytes[operation])))
                self.note()
        return [blocks[number] for number in script.left]

    def note(self, touched_bytes: int = 0) -> None:
        """Note what is allocated now."""
        allocated = sum(pool.allocated_bytes for pool in self._owners) - self._pending_bytes
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, allocated + touched_bytes)

    def await_gpu(self, num_pending: int = 0) -> None:
        """Free what computations had that are over, all but the last `num_pending`."""
        for stream, pending in self._pending.items():
            while len(pending) > num_pending:
                block = pending.popleft()
                self._pending_bytes -= block.size
                self._pools[stream].free(block)

    def free(self, stream: CudaStream, block: Block) -> None:
        """Free a block, at once or when its stream lets go of it."""
        pending = self._pending.get(stream) if self._num_pending else None
        if pending is None:
            self._pools[stream].free(block)
            return
        pending.append(block)
        self._pending_bytes += block.size


def sharded_shares(workload: Workload) -> tuple[float, float]:
    """Return the share of fragmentation from replaying steps on one process, as `replayed_shares` does, and the most.

    The Trainer looks at the loss of every batch (`logging_nan_inf_filter`), for which the host waits for the GPU. A
    loop that does not lets it run ahead into the next step, which then cannot use what is still pending. Where the
    processes load differently, it is the one that keeps more.
    """
    if workload.sharding.kind is not ShardingKind.FSDP1:
        share = _replayed(workload, num_pending=0, waits=True, receives=False)
        return share, share
    waiting, running = (
        max(
            _replayed(workload, MAX_INFLIGHT_GATHERS, waits=waits, receives=receives)
            for receives in ((False, True) if receives_ahead(workload) else (False,))
        )
        for waits in (True, False)
    )
    return waiting, max(waiting, running)


def _replayed(workload: Workload, num_pending: int, *, waits: bool, receives: bool) -> float:
    """Replay two steps: what the first leaves behind decides where the second finds room; a third finds the same."""
    trained, script = trained_shards(workload), sharded_script(workload)
    settings = AllocatorSettings(
        expandable_segments=workload.allocator is Allocator.EXPANDABLE, spares_growing_end=False
    )
    pools = StreamPools(settings, num_pending)
    pools.load(tuple(load_steps(workload)), waits_on_gpu=waits_on_gpu(workload), runs_ahead=receives)
    loaded_bytes = pools.computing.allocated_bytes
    keeps_optimizer = workload.sharding.offload is Offload.NONE
    for number in range(2):
        left = pools.run(script, workload.batch_size, workload.seq_len_tokens)
        if waits:
            pools.await_gpu()
        if keeps_optimizer:
            states = state_sizes(workload.optimizer, trained) if number == 0 else []
            for size in states:
                pools.computing.allocate(size)
            scratch = [pools.computing.allocate(size) for size in step_sizes(workload.optimizer, trained)]
            pools.note()
            for block in scratch:
                pools.computing.free(block)
        for stream, block in left:
            pools.free(stream, block)
    peak = pools.peak_allocated_bytes
    return (pools.reserved_bytes - peak) / max(1, peak - loaded_bytes)
