"""The closed form: how much GPU memory one fine-tuning run needs, without running it.

Each layer is derived operation by operation from what autograd saves and what kernels allocate
(`closed_form/layers.py`, `closed_form/ops.py`), on sizes that are linear in tokens and pairs of tokens. A derivation is
kept per architecture and method, so that another batch or sequence length costs microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory import device
from kaitoc.compiler.memory.closed_form.host import copies_host_bytes
from kaitoc.compiler.memory.closed_form.layout import Plan
from kaitoc.compiler.memory.closed_form.model import reference_stream_of, stream_of
from kaitoc.compiler.memory.closed_form.optimizer import state_bytes, step_bytes
from kaitoc.compiler.memory.closed_form.peak import Moment, categories_at, peak_moments, saved_sizes, sent_to_host
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.reserve import fragmentation_shares, replayed_shares, replayed_steps
from kaitoc.compiler.memory.closed_form.size import Size
from kaitoc.compiler.memory.closed_form.surroundings import setup_of
from kaitoc.compiler.memory.closed_form.validation import validate, validate_group
from kaitoc.compiler.memory.result import Categories, Footprint, Phase, PhasePeak, Verdict
from kaitoc.compiler.memory.sharding.model import Offload, ShardingKind
from kaitoc.compiler.memory.sharing import why_whole
from kaitoc.compiler.memory.workload import Reference, Workload
from kaitoc.compiler.memory.workload_key import key_of_step, of_any_size

_MOST_SEGMENT_BYTES = 64 << 20
"""Partly filled segments of a tiny step; otherwise no step was seen to lose more to fragmentation than 0.6 of what it
adds, and `bounds` takes all of it."""

_SHARE_FOR_REPLICAS = 0.9
"""The share of a GPU that a copy on each node may take by the most cautious bound: no margin that users keep free then
makes a run tight that would fit over all nodes."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """A workload's step with batch and sequence length left open."""

    plan: Plan
    moments: Mapping[Phase, tuple[Moment, ...]]
    state_bytes: int
    optimizer_step_bytes: int


def footprint(workload: Workload, gpu: Gpu | None = None) -> Footprint:
    """Return the predicted footprint of a workload, in bytes; on a known GPU with its context.

    Raises `WorkloadError` for a workload that no run can have.
    """
    live = _live(workload, gpu)
    likely, most = fragmentation_shares(live.workload)
    reserve = live.reserve(likely * live.moving_bytes)
    return Footprint(
        phases=live.phases,
        num_trainable_parameters=live.derivation.plan.num_trainable,
        fragmentation_bytes=reserve.fragmentation_bytes,
        context_bytes=reserve.context_bytes,
        low_bytes=live.allocated_bytes + reserve.low_bytes,
        high_bytes=live.high_bytes(most * live.moving_bytes),
        num_gpus=live.workload.num_gpus,
        sharding=live.workload.sharding,
        host_bytes=host_bytes(live.workload),
    )


def host_bytes(workload: Workload) -> int:
    """Return the host memory that the processes of a node need, of a workload whose sharding is decided."""
    if workload.sharding.is_sharded:
        from kaitoc.compiler.memory.closed_form.sharding.host import shards_host_bytes  # as the phases of shards

        return shards_host_bytes(of_any_size(workload))
    if not workload.offloads_activations:
        return copies_host_bytes(workload)
    sent = _sent_to_host(key_of_step(workload)).at(workload.batch_size, workload.seq_len_tokens)
    return max(copies_host_bytes(workload), sent * (workload.num_gpus // workload.sharding.num_nodes))


@lru_cache(maxsize=64)
def _sent_to_host(workload: Workload) -> Size:
    return sent_to_host(stream_of(workload), setup_of(workload))


def phase_peaks(workload: Workload, gpu: Gpu | None = None) -> tuple[PhasePeak, ...]:
    """Return the bytes allocated at the peak of each phase, which needs no replay; raises `WorkloadError`."""
    return _live(workload, gpu).phases


@dataclass(frozen=True, slots=True)
class Bounds:
    """What can be said of a footprint in microseconds, in bytes: `low_bytes` exactly, the others as bounds.

    `device_bytes` is at least `least_bytes`; `high_bytes` lies between `least_high_bytes` and `most_high_bytes`.
    """

    low_bytes: int
    least_bytes: int
    least_high_bytes: int
    most_high_bytes: int


def bounds(workload: Workload, gpu: Gpu) -> Bounds:
    """Return bounds of a footprint without replaying the allocator; raises `WorkloadError` as `footprint` does."""
    live = _live(workload, gpu)
    none = live.reserve(0.0)
    return Bounds(
        low_bytes=live.allocated_bytes + none.low_bytes,
        least_bytes=live.allocated_bytes + none.context_bytes,
        least_high_bytes=live.allocated_bytes + none.high_bytes,
        most_high_bytes=live.high_bytes(live.most_fragmentation_bytes),
    )


@dataclass(frozen=True, slots=True)
class _Live:
    """What a workload's tensors take on a GPU, before anything is known of fragmentation.

    `sized` is the workload with batch and sequence length left open, by which derivations are kept.
    `moving_bytes` is what a step adds to the resident state, the optimizer's state included.
    """

    workload: Workload
    sized: Workload
    gpu: Gpu | None
    derivation: Derivation
    phases: tuple[PhasePeak, ...]
    allocated_bytes: int
    moving_bytes: int

    @property
    def most_fragmentation_bytes(self) -> int:
        """Return an upper bound of fragmentation in bytes."""
        return self.moving_bytes + _MOST_SEGMENT_BYTES

    def reserve(self, fragmentation_bytes: float) -> device.Reserve:
        """Return the reserve that the device holds beyond the tensors."""
        return device.estimate(self.workload, self.gpu, self.allocated_bytes, int(fragmentation_bytes))

    def high_bytes(self, fragmentation_bytes: float) -> int:
        """Return the high end of the footprint's interval."""
        return self.allocated_bytes + self.reserve(fragmentation_bytes).high_bytes


def as_shared(asked: Workload, gpu: Gpu | None) -> Workload:
    """Return a workload as its GPUs share it: with `auto` whole copies where one fits, else shards (FSDP2).

    On several nodes each holds a copy among its GPUs where one certainly fits, so that weights are gathered inside
    the nodes alone. Activations that go to the host are counted on the GPU of a shard, as an upper bound.

    Raises `WorkloadError` as `footprint` does.
    """
    sharding = asked.sharding
    if sharding.kind is not ShardingKind.AUTO:
        return asked
    validate_group(asked.num_gpus, sharding.shard_group)
    copied = replace(
        sharding, kind=ShardingKind.DDP, shard_group=None, offload=Offload.NONE, reshard_after_forward=True
    )
    whole = replace(asked, sharding=copied)
    if asked.num_gpus == 1 or gpu is None or why_whole(asked):
        return whole
    live = _live(whole, gpu)
    if live.allocated_bytes + live.reserve(0.0).context_bytes <= gpu.memory_bytes:
        return whole
    split = replace(asked, sharding=replace(sharding, kind=ShardingKind.FSDP2), offloads_activations=False)
    return split if sharding.shard_group is not None else _in_nodes(split, gpu)


def _in_nodes(split: Workload, gpu: Gpu) -> Workload:
    """Return a sharded workload with a copy on each node, as it is where the node's GPUs might be too small for one."""
    sharding, num_gpus = split.sharding, split.num_gpus
    if sharding.num_nodes < 2 or num_gpus % sharding.num_nodes or num_gpus < 2 * sharding.num_nodes:
        return split
    in_nodes = replace(split, sharding=replace(sharding, shard_group=num_gpus // sharding.num_nodes))
    live = _live(in_nodes, gpu)
    fits_surely = live.high_bytes(live.most_fragmentation_bytes) <= gpu.memory_bytes * _SHARE_FOR_REPLICAS
    return in_nodes if fits_surely else split


def _live(asked: Workload, gpu: Gpu | None) -> _Live:
    workload = device.as_run_on(as_shared(asked, gpu), gpu)
    validate(workload)
    sized = of_any_size(workload)
    derivation = _derive_cached(sized, workload.accumulates and not workload.sharding.is_sharded)
    if workload.sharding.is_sharded:
        from kaitoc.compiler.memory.closed_form.sharding.phases import sharded_phases  # a dozen modules for few jobs

        base, phases = sharded_phases(workload, sized, gpu)
    else:
        base = _resident(workload, derivation, gpu)
        phases = tuple(_phases(workload, derivation, base))
    allocated = max(phase.allocated_bytes for phase in phases)
    return _Live(workload, sized, gpu, derivation, phases, allocated, allocated - base.total + base.optimizer)


def _phases(workload: Workload, derivation: Derivation, base: Categories) -> list[PhasePeak]:
    batch, tokens = workload.batch_size, workload.seq_len_tokens
    plan = derivation.plan
    phases = [PhasePeak(Phase.LOAD, Categories(weights=base.weights, adapters=base.adapters))]
    stepping = replace(base, gradients=base.gradients + plan.gradient_bytes) if workload.accumulates else base
    for name in (Phase.FORWARD, Phase.LOSS, Phase.BACKWARD):
        moments = derivation.moments[name]
        highest = max(moments, key=lambda moment: moment.total.at(batch, tokens))
        phases.append(PhasePeak(name, categories_at(stepping, highest, batch, tokens)))
    if workload.steps_in_backward:
        return phases
    (outputs,) = derivation.moments[Phase.OPTIMIZER]
    updating = _optimizer_categories(base, derivation)
    return [*phases, PhasePeak(Phase.OPTIMIZER, categories_at(updating, outputs, batch, tokens))]


def verdict(prediction: Footprint, gpu: Gpu, margin: float) -> Verdict:
    """Return whether a run fits a GPU; `margin` is the share of its memory to keep free, 0.05 for five percent.

    "Fits" needs the high end of the interval below the memory less the margin; "does not fit" the low end above it.
    """
    if prediction.high_bytes <= gpu.memory_bytes * (1.0 - margin):
        return Verdict.FITS
    return Verdict.TIGHT if prediction.low_bytes <= gpu.memory_bytes else Verdict.DOES_NOT_FIT


def fits(workload: Workload, gpu: Gpu, margin: float) -> bool:
    """Return whether the verdict on a workload is that it fits, with no more replays than decide it.

    Raises `WorkloadError` as `footprint` does.
    """
    live = _live(workload, gpu)
    room = gpu.memory_bytes * (1.0 - margin)
    known, unknown = 0.0, 1.0
    for step, weight in replayed_steps(live.workload):
        if live.high_bytes(known * live.moving_bytes) > room:
            return False
        if live.high_bytes(known * live.moving_bytes + unknown * live.most_fragmentation_bytes) <= room:
            return True
        known += weight * replayed_shares(step)[1]
        unknown -= weight
    return live.high_bytes(fragmentation_shares(live.workload)[1] * live.moving_bytes) <= room


def saved_bytes(workload: Workload) -> int:
    """Sum the bytes that the forward pass keeps for the backward pass: saved tensors and the step's inputs."""
    sizes = saved_sizes(stream_of(workload))
    return sum(size.at(workload.batch_size, workload.seq_len_tokens) for size in sizes)


def margin_bytes(prediction: Footprint, gpu: Gpu) -> int:
    """Return the bytes left on a GPU by the central prediction; negative when it does not fit."""
    return gpu.memory_bytes - prediction.device_bytes


@lru_cache(maxsize=512)
def _derive_cached(workload: Workload, accumulates: bool) -> Derivation:
    plan = plan_for(workload)
    return Derivation(
        plan,
        _derive_moments(key_of_step(workload), accumulates),
        state_bytes(workload.optimizer, plan.trainable),
        step_bytes(workload.optimizer, plan.trainable),
    )


@lru_cache(maxsize=256)
def _derive_moments(workload: Workload, accumulates: bool) -> Mapping[Phase, tuple[Moment, ...]]:
    return peak_moments(stream_of(workload), reference_stream_of(workload), setup_of(workload, adds_up=accumulates))


def _resident(workload: Workload, derivation: Derivation, gpu: Gpu | None) -> Categories:
    """Sum what lives through every step, with DDP's buckets and a reference model's weights."""
    plan = derivation.plan
    buckets = plan.gradient_bytes if workload.num_gpus > 1 else 0
    copies = 2 if workload.reference is Reference.COPY else 1
    return Categories(
        weights=copies * plan.weights_bytes,
        adapters=plan.adapter_bytes,
        gradients=buckets,
        optimizer=derivation.state_bytes,
        workspace=device.cublas_workspace_bytes(gpu),
    )


def _optimizer_categories(base: Categories, derivation: Derivation) -> Categories:
    return Categories(
        weights=base.weights,
        adapters=base.adapters,
        gradients=base.gradients + derivation.plan.gradient_bytes,
        optimizer=base.optimizer,
        workspace=base.workspace + derivation.optimizer_step_bytes,
    )
