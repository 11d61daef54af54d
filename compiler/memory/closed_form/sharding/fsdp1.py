"""FSDP1: `FullyShardedDataParallel` of PyTorch 2.2 to 2.13 (`torch/distributed/fsdp/_runtime_utils.py`).

The parameters of a unit are one flat tensor, gathered in place of which each weight is a view. The root stays gathered
from the start of the forward pass to the end of the backward pass. PEFT's wrap policy makes every adapter matrix a unit
of its own (`fsdp_auto_wrap_policy`); what they take gathered, some KiB at a time, is left out.

Gathers and reductions share a process group and so NCCL's stream, which runs them in the order in which they were
issued (`BackwardPrefetch`). A layer that is not gathered ahead is so after the layer behind it has been reduced, which
has to wait for all gradients of that one.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.script import CudaStream
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.closed_form.sharding.schedule import Gathered, Memory, Schedule
from kaitoc.compiler.memory.closed_form.sharding.units import Unit, Units
from kaitoc.compiler.memory.closed_form.size import fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.sharding.model import Sharding

_COPIES_OF_A_GRADIENT = 4
"""Gradients are joined into a flat one (`SplitWithSizesBackward`), which is divided in place (`_div_if_needed`)."""


class Fsdp1(Schedule):
    """The hooks of FSDP1. `recomputes_reentrantly`: layers are checkpointed by the reentrant variant."""

    def __init__(
        self, memory: Memory, units: Units, sharding: Sharding, num_shards: int, num_replicas: int, accumulates: bool,
        *, recomputes_reentrantly: bool,
    ) -> None:  # fmt: skip
        super().__init__(memory, units, sharding, num_shards, num_replicas, accumulates)
        self.root = self.of(units.root)
        self.order: list[Gathered] = []
        self.prefetches = sharding.prefetches_backward and not recomputes_reentrantly
        """A layer that first ran without gradients never asked to be gathered ahead (`_needs_pre_backward_unshard`)."""
        self.gathers_again = recomputes_reentrantly and sharding.reshard_after_forward
        """The layer that runs again is given up after its forward pass, as it was the first time."""
        self.has_reduced = False
        """Whether the next gather is queued behind a reduction."""
        is_frozen = any(unit.frozen.parameters for unit, _ in units.layers)
        self.keeps_checkpoints = recomputes_reentrantly and is_frozen

    def of(self, unit: Unit) -> Gathered:
        """Return a unit, without the adapters that are units of their own."""
        frozen = unit.frozen
        return Gathered(
            unit, frozen if frozen.parameters else unit, self.num_shards, holds_gradients=self.holds_gradients
        )

    def start(self) -> None:
        """Gather the root."""
        self._unshard(self.root)

    def before(self, one: Gathered) -> None:
        """Gather a layer."""
        self._unshard(one)

    def after(self, one: Gathered) -> None:
        """Give a layer up until it goes back."""
        if self.sharding.reshard_after_forward:
            self._reshard(one)
        self.order.append(one)

    def turn(self) -> None:
        """Begin the backward pass with the root's parameters."""
        self.is_backward = True
        self.current = self.root

    def before_back(self, one: Gathered) -> None:
        """Gather a layer, and with prefetching the one that goes back next."""
        self._unshard(one, is_waited_for=self.has_reduced)
        if self.gathers_again:
            self._tell_gather(one)
        self.has_reduced = False
        self.current = one
        place = self.order.index(one)
        if self.prefetches and place > 0:
            self._unshard(self.order[place - 1])

    def after_back(self, one: Gathered) -> None:
        """Put the gradients into a flat one, give the layer up, and reduce."""
        one.is_done = True
        self.current = self.root
        memory, shard_bytes = self.memory, one.reduced_bytes // one.num_shards
        flat = memory.take(one.reduced_bytes, Kind.GRADIENT, CudaStream.LENT)
        self._tell_reduction(one)
        memory.note()
        for gradient in one.gradients:
            memory.give_back(gradient)
        one.gradients = []
        self._reshard(one)
        memory.release(one)
        shard = memory.take(shard_bytes, Kind.GRADIENT, CudaStream.REDUCE)
        memory.note()
        memory.give_back(flat)
        if one.gradient_shard_bytes != shard_bytes:
            widened = memory.take(one.gradient_shard_bytes, Kind.GRADIENT, CudaStream.REDUCE)
            memory.note()
            memory.give_back(shard)
            shard = widened
        if self.gives_shards_up:
            memory.give_back(shard)

    def finish(self) -> None:
        """Reduce what the root has left."""
        for one in (*reversed(self.order), self.root):
            if not one.is_done:
                self.after_back(one)

    def _unshard(self, one: Gathered, *, is_waited_for: bool = False) -> None:
        """`_unshard`: one buffer; what is narrowed for it lives as long as the gather."""
        if not self.is_backward:
            self.memory.hold(one)
        if one.weights is None:
            self._tell_gather(one, is_waited_for=is_waited_for)
            one.weights = self.memory.take(one.gathered_bytes, Kind.GATHERED, CudaStream.GATHER)
            self.memory.note(fixed(self.copied_bytes(one)))

    def _tell_gather(self, one: Gathered, *, is_waited_for: bool = False) -> None:
        communicate = self.memory.communicate
        communicate(Collective(CollectiveKind.GATHER, one.gathered_bytes), is_waited_for=is_waited_for)
        if one.num_apart:
            communicate(Collective(CollectiveKind.GATHER, one.apart_bytes // one.num_apart), one.num_apart)

    def _tell_reduction(self, one: Gathered) -> None:
        """Adapters are reduced one by one, a flat gradient when its parts have been joined.

        Behind a layer's adapters its first projection still goes back, which the next gather runs beside.
        """
        if one.num_apart:
            self.reduce_shards(one, num_calls=one.num_apart)
            return
        self.has_reduced = self.sharding.reshard_after_forward and not self.prefetches
        copied_bytes = _COPIES_OF_A_GRADIENT * one.reduced_bytes
        self.reduce_shards(one, copied_bytes=copied_bytes, is_waited_for=self.has_reduced)

    def _reshard(self, one: Gathered) -> None:
        self.memory.give_back(one.weights)
        one.weights = None
