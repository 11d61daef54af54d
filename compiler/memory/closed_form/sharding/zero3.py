"""DeepSpeed's ZeRO-3 as `accelerate launch` sets it up, which leaves buckets to DeepSpeed (0.13 to 0.19).

Parameters are gathered one by one, and stay while fewer than `stage3_max_live_parameters` live and they are used again
soon; so models of less than that are never given up. Gradients are copied into a bucket, reduced and dropped.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.script import CudaStream
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.closed_form.sharding.schedule import Gathered, Schedule
from kaitoc.compiler.memory.closed_form.sharding.state import REDUCE_BUCKET_BYTES
from kaitoc.compiler.memory.closed_form.sharding.units import Unit
from kaitoc.compiler.memory.closed_form.size import HALF_BYTES
from kaitoc.compiler.memory.closed_form.tensor import Kind

MAX_LIVE_PARAMETERS = 10**9
"""`stage3_max_live_parameters` and `stage3_max_reuse_distance` (`deepspeed/runtime/zero/config.py`)."""

PREFETCH_PARAMETERS = 5 * 10**7
"""`stage3_prefetch_bucket_size`: gathers ahead end with the parameter that reaches it."""

_COPY = 2
"""Gradients are copied into the bucket: read and written."""


class Zero3(Schedule):
    """Holds what is live at most through the whole step: no point of it is known to hold less."""

    keeps_all = False
    """Whether all parameters stay gathered once the forward pass has seen them."""

    def of(self, unit: Unit) -> Gathered:
        """Return a unit; its gradients go into the bucket."""
        return Gathered(unit, unit, self.num_shards, holds_gradients=False)

    def start(self) -> None:
        """Take the weights that live at a time, those gathered ahead once more, and the bucket.

        What is gathered together is one tensor that each parameter is copied from (`AllGatherCoalescedHandle.wait`).
        """
        units, take = self.units, self.memory.take
        sizes = [(one, count) for unit, count in units.all_units() for one in unit.parameters]
        total = sum(one.num_elements * count for one, count in sizes)
        largest = max(one.num_elements // one.copies for one, _ in sizes)
        self.keeps_all = total <= MAX_LIVE_PARAMETERS
        self._tell_gather(self.of(units.root))
        live = min(total, max(MAX_LIVE_PARAMETERS, *(self._elements(unit) for unit, _ in units.all_units())))
        take(live * HALF_BYTES, Kind.GATHERED, CudaStream.GATHER)
        together = min(total, PREFETCH_PARAMETERS + largest)
        take(together * HALF_BYTES, Kind.GATHERED, CudaStream.GATHER)
        take(REDUCE_BUCKET_BYTES, Kind.WORKSPACE)
        self.memory.note()

    def before(self, one: Gathered) -> None:
        """Gather a unit that is not live."""
        self._tell_gather(one)

    def turn(self) -> None:
        """Begin the backward pass."""
        self.is_backward = True
        self.current = self.of(self.units.tail)

    def before_back(self, one: Gathered) -> None:
        """Let the gradients of what was before go."""
        if not self.keeps_all:
            self._tell_gather(one)
        self._drop_gradients()
        self.current = one

    def after_back(self, one: Gathered) -> None:
        """Let the gradients of a layer go: they are in the bucket."""
        self.reduce_shards(one, copied_bytes=_COPY * one.reduced_bytes)
        self._drop_gradients()

    def finish(self) -> None:
        """Let the last gradients go, and reduce those of what is around the layers."""
        root = self.of(self.units.root)
        self.reduce_shards(root, copied_bytes=_COPY * root.reduced_bytes)
        self._drop_gradients()

    def _elements(self, unit: Unit) -> int:
        return sum(one.num_elements for one in unit.parameters)

    def _tell_gather(self, one: Gathered) -> None:
        self.memory.communicate(Collective(CollectiveKind.GATHER, one.gathered_bytes))

    def _drop_gradients(self) -> None:
        if self.current is None:
            return
        for gradient in self.current.gradients:
            self.memory.give_back(gradient)
        self.current.gradients = []
