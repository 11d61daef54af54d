"""The collectives of a step: a way of sharding is asked for them unit by unit, as the readers of its memory ask it."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.script import CudaStream
from kaitoc.compiler.memory.closed_form.sharding.collective import (
    Collective,
    CollectiveKind,
    Cover,
    CoveredCollectives,
)
from kaitoc.compiler.memory.closed_form.sharding.derive import schedule_for
from kaitoc.compiler.memory.closed_form.sharding.schedule import Gathered, Memory, Schedule
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.workload import Reference, Workload
from kaitoc.compiler.memory.workload_key import of_any_size

FIRST_BUCKET_BYTES = MIB
BUCKET_BYTES = 25 * MIB
"""`_DEFAULT_FIRST_BUCKET_BYTES` and `bucket_cap_mb` of `torch/nn/parallel/distributed.py`."""

_COPIES_OF_A_BUCKET = 4
"""DDP copies gradients into their bucket and back (`reducer.cpp`), reading and writing each time."""


def collectives_of(workload: Workload) -> tuple[CoveredCollectives, ...]:
    """Return the collectives of a batch whose gradients are reduced, which no batch size or length changes."""
    return _collectives(of_any_size(workload)) if workload.num_gpus > 1 else ()


@lru_cache(maxsize=256)
def _collectives(workload: Workload) -> tuple[CoveredCollectives, ...]:
    if not workload.sharding.is_sharded:
        return _buckets(plan_for(workload).gradient_bytes)
    recorder = _Recorder()
    has_reference = workload.reference is not Reference.NONE
    recorder.follow(schedule_for(recorder, workload, accumulates=False), has_reference=has_reference)
    return tuple(CoveredCollectives(*key, count) for key, count in recorder.counts.items())


def _buckets(gradient_bytes: int) -> tuple[CoveredCollectives, ...]:
    """DDP: buckets fill from the end of the model on; the last one is full when the backward pass is over."""
    first = min(gradient_bytes, FIRST_BUCKET_BYTES)
    num_full = max(0, gradient_bytes - first - 1) // BUCKET_BYTES
    last = gradient_bytes - first - num_full * BUCKET_BYTES
    sizes = ((first, 1, Cover.BACKWARD if last else Cover.NOTHING), (BUCKET_BYTES, num_full, Cover.BACKWARD),
             (last, 1, Cover.NOTHING))  # fmt: skip
    return tuple(
        CoveredCollectives(_bucket(num_bytes), cover, count) for num_bytes, count, cover in sizes if num_bytes and count
    )


def _bucket(num_bytes: int) -> Collective:
    return Collective(CollectiveKind.ALL_REDUCE, num_bytes, _COPIES_OF_A_BUCKET * num_bytes, joins_replicas=True)


def _layers(schedule: Schedule) -> list[Gathered]:
    return [schedule.of(unit) for unit, count in schedule.units.layers for _ in range(count)]


class _Recorder(Memory):
    """Counts collectives, and no memory.

    The host runs ahead of the GPU, so that a layer is gathered while the one before it computes, forward and back. The
    first gathers have nothing to run beside, and neither has the last reduction.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[Collective, Cover], int] = {}
        self._cover = Cover.NOTHING

    def follow(self, schedule: Schedule, *, has_reference: bool) -> None:
        """Run through a step, in the order of `ShardedReader`."""
        layers = _layers(schedule)
        schedule.start()
        self._forward(schedule, layers)
        if has_reference:
            schedule.begin_reference()
            self._forward(schedule, _layers(schedule))
            schedule.end_reference()
        self._cover = Cover.NOTHING
        schedule.turn()
        self._cover = Cover.BACKWARD
        schedule.layers_back()
        for place, one in enumerate(reversed(layers), start=1):
            schedule.before_back(one)
            if place == len(layers):
                self._cover = Cover.NOTHING
            schedule.after_back(one)
        if schedule.embedding is not None:
            schedule.before_back(schedule.embedding)
            schedule.after_back(schedule.embedding)
        schedule.finish()

    def _forward(self, schedule: Schedule, layers: list[Gathered]) -> None:
        if schedule.embedding is not None:
            schedule.before(schedule.embedding)
            schedule.after(schedule.embedding)
        for one in layers:
            schedule.before(one)
            self._cover = Cover.FORWARD
            schedule.after(one)
        schedule.begin_tail()

    def communicate(self, collective: Collective, num_calls: int = 1, *, is_waited_for: bool = False) -> None:
        """Count equal collectives."""
        if collective.num_bytes and num_calls:
            key = collective, Cover.NOTHING if is_waited_for else self._cover
            self.counts[key] = self.counts.get(key, 0) + num_calls

    def take(self, num_bytes: int, kind: Kind, _stream: CudaStream = CudaStream.COMPUTE) -> Buffer | None:
        """Return a buffer that nobody counts."""
        return Buffer(fixed(num_bytes), kind) if num_bytes else None

    def give_back(self, buffer: Buffer | None) -> None:
        """Count nothing."""

    def note(self, temporary: Size = ZERO) -> None:
        """Count nothing."""

    def hold(self, one: Gathered) -> None:
        """Count nothing."""

    def release(self, one: Gathered) -> None:
        """Count nothing."""
