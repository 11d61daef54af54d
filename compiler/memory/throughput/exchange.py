"""What several GPUs add to the time of a step: collectives beside the computation, copies, and waiting for the slowest.

Collectives run on streams of their own. What is covered by a computation adds only what does not fit beside it, and the
multiprocessors that NCCL's kernels take from that computation while they run.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.closed_form.sharding.collective import CollectiveKind, Cover, CoveredCollectives
from kaitoc.compiler.memory.closed_form.sharding.collectives import collectives_of
from kaitoc.compiler.memory.closed_form.sharding.state import as_computed, trained_shards
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.throughput.links import Links, sent_bytes
from kaitoc.compiler.memory.throughput.rates import Rates, gpu_spread, optimizer_bytes
from kaitoc.compiler.memory.throughput.work import work_of
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.memory.workload_key import of_any_size


@dataclass(frozen=True, slots=True)
class Passes:
    """The time that a batch computes for on one GPU, forward and back."""

    forward_seconds: float
    backward_seconds: float

    def of(self, cover: Cover) -> float:
        """Return the time that collectives of one kind can run beside."""
        if cover is Cover.NOTHING:
            return 0.0
        return self.forward_seconds if cover is Cover.FORWARD else self.backward_seconds


NO_OVERLAP = Passes(0.0, 0.0)
"""For collectives that everything waits for."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a step's collectives add to it, and the bytes that one GPU sends."""

    seconds: float
    num_bytes: float


@dataclass(frozen=True, slots=True)
class _Traffic:
    """The collectives of one batch on some links: their time by what they run beside, and what they copy and send."""

    seconds: tuple[tuple[Cover, float], ...]
    copied_bytes: float
    sent_bytes: float

    def added_seconds(self, rates: Rates, passes: Passes, busy_share: float) -> float:
        """Compute the seconds that communication adds to a batch; NCCL holds `busy_share` of the multiprocessors."""
        seconds = self.copied_bytes / rates.stream_bandwidth
        for cover, duration in self.seconds:
            beside = passes.of(cover)
            seconds += max(duration, beside + busy_share * duration) - beside
        return seconds


def as_timed(workload: Workload) -> Workload:
    """Return the step that one of several processes computes.

    FSDP1 gathers adapters as units of their own, after PEFT has widened their input to the type of the shard.
    """
    if not workload.sharding.is_sharded:
        return workload
    computed = as_computed(workload)
    return replace(computed, lora=workload.lora) if workload.sharding.kind is ShardingKind.FSDP1 else computed


def optimizer_bytes_of(workload: Workload) -> int:
    """Return the bytes that the optimizer of one of several processes moves on its GPU."""
    if not workload.sharding.is_sharded:
        return work_of(workload).optimizer_bytes(workload.optimizer)
    return _sharded_optimizer_bytes(of_any_size(workload)) if workload.sharding.offload is Offload.NONE else 0


@lru_cache(maxsize=512)
def _sharded_optimizer_bytes(workload: Workload) -> int:
    """Return the bytes that a step over shards moves; ZeRO-3 steps over float32 weights."""
    is_zero = workload.sharding.kind is ShardingKind.ZERO3
    return sum(
        optimizer_bytes(workload.optimizer, count * elements, FLOAT32_BYTES if is_zero else size)
        for count, elements, size in trained_shards(workload)
    )


def exchange(workload: Workload, links: Links, rates: Rates, passes: Passes, accumulation_steps: int) -> Exchange:
    """Return the seconds that collectives add to a step of several batches.

    Gradients are reduced in the last batch alone, unless each batch is to be (`no_sync` of accelerate).
    """
    last, gathers = _traffic(of_any_size(workload), links)
    num_reduced = accumulation_steps if workload.sharding.sync_each_batch else 1
    num_others = accumulation_steps - num_reduced
    share = links.num_channels / rates.num_multiprocessors
    seconds = num_reduced * last.added_seconds(rates, passes, share)
    if num_others:
        seconds += num_others * gathers.added_seconds(rates, passes, share)
    return Exchange(seconds, num_reduced * last.sent_bytes + num_others * gathers.sent_bytes)


@lru_cache(maxsize=512)
def _traffic(workload: Workload, links: Links) -> tuple[_Traffic, _Traffic]:
    """Return the traffic of a batch whose gradients are reduced, and of one whose are kept."""
    collectives = collectives_of(workload)
    gathers = tuple(one for one in collectives if one.collective.kind is CollectiveKind.GATHER)
    return _traffic_of(workload, collectives, links), _traffic_of(workload, gathers, links)


def _traffic_of(workload: Workload, collectives: tuple[CoveredCollectives, ...], links: Links) -> _Traffic:
    num_gpus, shard_group = workload.num_gpus, workload.sharding.group_of(workload.num_gpus)
    seconds = dict.fromkeys(Cover, 0.0)
    copied = sent = 0.0
    for one in collectives:
        seconds[one.cover] += one.count * links.seconds(one.collective, num_gpus, shard_group)
        copied += one.count * one.collective.copied_bytes
        sent += one.count * sent_bytes(one.collective, num_gpus, shard_group)
    return _Traffic(tuple(seconds.items()), copied, sent)


@lru_cache(maxsize=64)
def waiting_share(num_gpus: int) -> float:
    """Return by how much the slowest of some GPUs is expected to be slower than they are on average.

    Speeds of one make of GPU are taken as normal; Blom's (1958) estimate of the largest of as many.
    """
    from statistics import NormalDist  # it imports decimal and fractions, for several GPUs alone

    return gpu_spread() * NormalDist().inv_cdf((num_gpus - 0.375) / (num_gpus + 0.25))
