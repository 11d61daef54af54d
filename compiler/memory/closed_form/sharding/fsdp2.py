"""FSDP2: `fully_shard` of PyTorch 2.4 to 2.13 (`torch/distributed/fsdp/_fully_shard`), as accelerate applies it.

Every parameter is split by itself. A unit is gathered into one buffer and copied out of it, so that for a moment there
are two copies of it; the buffer of the forward pass lives until the next unit has been copied out (it is a local of
`FSDPParamGroup.wait_for_unshard`), that of the last one until the root's forward pass has ended.
"""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.script import CudaStream
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.closed_form.sharding.schedule import Gathered, Memory, Schedule
from kaitoc.compiler.memory.closed_form.sharding.units import Units
from kaitoc.compiler.memory.closed_form.size import fixed
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.sharding.model import Sharding, Wrap

_COPY = 2
"""Units are copied out of the buffer that they are gathered in, and gradients into the one that they are reduced in
(`foreach_all_gather_copy_out`, `foreach_reduce_scatter_copy_in`): read and written."""


class Fsdp2(Schedule):
    """The hooks of `FSDPState` and `FSDPParamGroup`."""

    def __init__(
        self, memory: Memory, units: Units, sharding: Sharding, num_shards: int, num_replicas: int, accumulates: bool
    ) -> None:
        super().__init__(memory, units, sharding, num_shards, num_replicas, accumulates)
        is_tied = not units.head.frozen.parameters and not units.head.parameters
        has_root = sharding.wrap is Wrap.ROOT
        self.root = self.of(units.root if has_root else units.tied_tail) if has_root or is_tied else None
        """What is gathered from the start on: under TAIL with tied weights its tail, which has the embedding."""
        self.reshards_root = has_root and sharding.reshard_after_forward
        self.is_observed_at_loss = has_root
        """Whether the backward pass of what is gathered last begins with the loss, not with the logits."""
        self.positions = None if has_root else self.of(units.positions)
        """What the root has left where others have the rest: it is not given up after the forward pass."""
        self.embedding = None if self.root is not None else self.of(units.embedding)
        self.tail = None if self.root is not None else self.of(units.tail)
        self.adds_up = self.holds_gradients
        self.order: list[Gathered] = []
        self._gathered: Buffer | None = None
        self._reducing: Buffer | None = None
        self._all_reducing: list[Buffer | None] = []

    def start(self) -> None:
        """Gather the root."""
        if self.positions is not None:
            self._unshard(self.positions)
        if self.root is not None:
            self._unshard(self.root)

    def begin_tail(self) -> None:
        """Gather norm and head."""
        if self.tail is not None:
            self._unshard(self.tail)

    def before(self, one: Gathered) -> None:
        """Gather a unit, which a reference finds gathered where nothing is given up."""
        if not self.is_passing or self.sharding.reshard_after_forward:
            self._unshard(one)

    def after(self, one: Gathered) -> None:
        """Give a unit up until it goes back."""
        if self.sharding.reshard_after_forward:
            self._reshard(one)
        if not self.is_passing:
            self.order.append(one)

    def begin_reference(self) -> None:
        """Give up what the end of a forward pass gives up, and gather the root anew."""
        self._end_forward()
        if self.root is not None and self.reshards_root:
            self._reshard(self.root)
        self.is_passing = True
        self.start()

    def end_reference(self) -> None:
        """Read what follows as part of the step."""
        self.is_passing = False

    def _end_forward(self) -> None:
        self.memory.give_back(self._gathered)
        self._gathered = None

    def turn(self) -> None:
        """Give up the last buffer; gather what comes first, and the layer that comes second, for the backward pass."""
        last = self.tail if self.tail is not None else self.root
        self._end_forward()
        self.is_backward = True
        if last is not None:
            self.order.append(last)
            if last is self.root and self.reshards_root:
                self._reshard(last)
        self.current = last
        if self.is_observed_at_loss or not self.runs_head:
            self.tail_back()

    def tail_back(self) -> None:
        """Gather the tail again where it was given up, and the last layer beside it."""
        self.before_back(self.order[-1])

    def layers_back(self) -> None:
        """Reduce the tail's gradients; those of the root wait for the embedding's."""
        if self.tail is not None:
            self.after_back(self.tail)

    def before_back(self, one: Gathered) -> None:
        """Gather a unit, and then into a buffer the one that goes back next."""
        self._unshard(one)
        self.current = one
        place = self.order.index(one)
        if place > 0:
            self._gather(self.order[place - 1])

    def after_back(self, one: Gathered) -> None:
        """Give a unit up and reduce its gradients."""
        one.is_done = True
        self._reshard(one)
        if self.current is one:
            self.current = self.embedding or self.root
        self._reduce(one)

    def finish(self) -> None:
        """End what has no gradient to end with, and wait for the last reduction."""
        if self.positions is not None:
            self.after_back(self.positions)
        for one in reversed(self.order):
            if not one.is_done:
                self.after_back(one)
        for buffer in (self._reducing, *self._all_reducing):
            self.memory.give_back(buffer)

    def _gather(self, one: Gathered) -> None:
        """`foreach_all_gather`: the buffer, and beside it what is narrowed or copied from the host."""
        if one.waiting is None and one.weights is None:
            num_bytes = one.gathered_bytes
            self.memory.communicate(Collective(CollectiveKind.GATHER, num_bytes, _COPY * num_bytes))
            one.waiting = self.memory.take(one.gathered_bytes, Kind.WORKSPACE, CudaStream.GATHER)
            self.memory.note(fixed(self.copied_bytes(one)))

    def _unshard(self, one: Gathered) -> None:
        """`unshard` and `wait_for_unshard`."""
        if not (self.is_backward or self.is_passing):
            self.memory.hold(one)
        if one.weights is not None:
            return
        self._gather(one)
        one.weights = self.memory.take(one.gathered_bytes, Kind.GATHERED)
        self.memory.note()
        if self.is_backward:
            self.memory.give_back(one.waiting)
        else:
            self.memory.give_back(self._gathered)
            self._gathered = one.waiting
        one.waiting = None

    def _reshard(self, one: Gathered) -> None:
        self.memory.give_back(one.weights)
        one.weights = None

    def _reduce(self, one: Gathered) -> None:
        """`foreach_reduce`: one buffer of all gradients is kept until the next unit's, its sum is the shard's.

        What replicas add up among themselves stays until the backward pass has ended (`_all_reduce_state`).
        """
        if not one.reduced_bytes:
            return
        memory, shard_bytes = self.memory, one.reduced_bytes // one.num_shards
        memory.give_back(self._reducing)
        self._reducing = memory.take(one.reduced_bytes, Kind.WORKSPACE)
        self.reduce_shards(one, copied_bytes=_COPY * one.reduced_bytes)
        memory.note()
        last = self._give_gradients_up(one)
        output = memory.take(shard_bytes, Kind.GRADIENT, CudaStream.REDUCE)
        memory.note()
        if one.gradient_shard_bytes != shard_bytes:
            widened = memory.take(one.gradient_shard_bytes, Kind.GRADIENT, CudaStream.REDUCE)
            memory.note()
            if self.num_replicas > 1:
                self._all_reducing.append(output)
            else:
                memory.give_back(output)
            output = widened
        memory.give_back(last)
        if self.gives_shards_up:
            memory.give_back(output)

    def _give_gradients_up(self, one: Gathered) -> Buffer | None:
        """Free a unit's gradients, which have been copied, but for that of its last parameter; return that one.

        `foreach_reduce` clears its list of them, and still has the variable of the loop that went over it.
        """
        memory, last = self.memory, None
        for gradient in one.gradients:
            if last is None and gradient.size.fixed == one.last_gradient_bytes:
                last = gradient
            else:
                memory.give_back(gradient)
        one.gradients = []
        memory.release(one)
        return memory.take(one.last_gradient_bytes, Kind.GRADIENT) if self.adds_up else last
