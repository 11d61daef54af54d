"""When shards are put together and given up again, as calls on whoever counts memory."""

from __future__ import annotations

from abc import ABC, abstractmethod

from kaitoc.compiler.memory.closed_form.graph import Buffer
from kaitoc.compiler.memory.closed_form.script import CudaStream
from kaitoc.compiler.memory.closed_form.sharding.collective import Collective, CollectiveKind
from kaitoc.compiler.memory.closed_form.sharding.units import Unit, Units
from kaitoc.compiler.memory.closed_form.size import ZERO, Size
from kaitoc.compiler.memory.closed_form.tensor import Kind
from kaitoc.compiler.memory.sharding.model import Offload, Sharding


class Memory(ABC):
    """What a schedule calls when memory is taken and given back."""

    @abstractmethod
    def take(self, num_bytes: int, kind: Kind, stream: CudaStream = CudaStream.COMPUTE) -> Buffer | None:
        """Allocate a buffer on a stream, None where there is nothing to allocate."""

    @abstractmethod
    def give_back(self, buffer: Buffer | None) -> None:
        """Free a buffer."""

    @abstractmethod
    def note(self, temporary: Size = ZERO) -> None:
        """Note a moment that can be the highest, with scratch memory."""

    @abstractmethod
    def hold(self, one: Gathered) -> None:
        """Keep the gradients of a unit that earlier batches left, whole."""

    @abstractmethod
    def release(self, one: Gathered) -> None:
        """Give them up."""

    @abstractmethod
    def communicate(self, collective: Collective, num_calls: int = 1, *, is_waited_for: bool = False) -> None:
        """Take notice of equal collectives; `is_waited_for`: no computation can run beside them."""


class Gathered:
    """A unit in one pass over the model: its sizes on one process, and what of it is put together at the moment.

    `gathered_bytes` is the whole unit in the type that it is computed in, `cast_bytes` what a process narrows of its
    shard for that. `reduced_bytes` are all its gradients as they are reduced, `held_bytes` those of earlier batches.
    `last_gradient_bytes` is the gradient of the last parameter. `num_apart` of its parameters are units of their own,
    of `apart_bytes` in all.
    """

    __slots__ = (
        "apart_bytes", "cast_bytes", "gathered_bytes", "gradient_shard_bytes", "gradients", "held", "held_bytes",
        "is_done", "last_gradient_bytes", "num_apart", "num_shards", "reduced_bytes", "waiting", "weights",
    )  # fmt: skip

    def __init__(self, unit: Unit, together: Unit, num_shards: int, *, holds_gradients: bool) -> None:
        """Take the parameters of a unit that are gathered `together`; the others are units of their own."""
        trained = unit.trained
        self.num_shards = num_shards
        self.gathered_bytes = together.gathered_bytes(num_shards)
        self.apart_bytes = unit.gathered_bytes(num_shards) - self.gathered_bytes
        self.num_apart = unit.num_parameters - together.num_parameters
        self.cast_bytes = together.cast_bytes(num_shards)
        self.reduced_bytes = trained.gathered_bytes(num_shards)
        self.gradient_shard_bytes = trained.shard_bytes(num_shards)
        self.last_gradient_bytes = trained.last_bytes
        self.held_bytes = trained.gathered_bytes(1) if holds_gradients else 0
        self.held: Buffer | None = None
        self.waiting: Buffer | None = None
        self.weights: Buffer | None = None
        self.gradients: list[Buffer] = []
        self.is_done = False


class Schedule:
    """One way of sharding: what it does around the forward and the backward pass of each unit, nothing by itself."""

    def __init__(
        self, memory: Memory, units: Units, sharding: Sharding, num_shards: int, num_replicas: int, accumulates: bool
    ) -> None:
        self.memory = memory
        self.units = units
        self.sharding = sharding
        self.num_shards = num_shards
        self.num_replicas = num_replicas
        self.holds_gradients = accumulates and not sharding.sync_each_batch
        self.gives_shards_up = (accumulates and sharding.sync_each_batch) or self.is_offloaded
        """Whether a reduced gradient is added to the one there is, or moves to the host."""
        self.adds_up = False
        """Whether the gradients of a unit are added to those that earlier batches left, each as soon as it is there."""
        self.keeps_checkpoints = False
        """Whether the input of every checkpointed layer and its gradient live until the backward pass has ended: FSDP1
        registers `register_multi_grad_hook` on the inputs of a layer whose flat parameter needs no gradient, and
        the reentrant variant's detached input holds its gradient too."""
        self.is_backward = False
        self.is_passing = False
        """Whether a forward pass is read that no backward pass follows, that of a reference."""
        self.runs_head = False
        """Whether the head runs as a module, and its backward pass is observed."""
        self.embedding: Gathered | None = None
        """The embedding where it is a unit of its own."""
        self.current: Gathered | None = None
        """The unit that the gradients of parameters belong to now."""

    @property
    def is_offloaded(self) -> bool:
        """Whether shards live in the host's memory, from where they are copied to be gathered."""
        return self.sharding.offload is Offload.PARAMETERS

    def leave(self, gradient: Buffer) -> None:
        """Take notice of the gradient of parameters."""
        if self.current is not None:
            self.current.gradients.append(gradient)

    def copied_bytes(self, one: Gathered) -> int:
        """Compute the bytes of a shard's copy, narrowed or moved from the host, during a gather."""
        return one.gathered_bytes // one.num_shards if self.is_offloaded else one.cast_bytes

    def reduce_shards(
        self, one: Gathered, *, copied_bytes: int = 0, num_calls: int = 1, is_waited_for: bool = False
    ) -> None:
        """Tell of the reduction of a unit's gradients, and of that of its shard among replicas."""
        communicate, num_bytes = self.memory.communicate, one.reduced_bytes // num_calls
        reduction = Collective(CollectiveKind.REDUCE_SCATTER, num_bytes, copied_bytes // num_calls)
        communicate(reduction, num_calls, is_waited_for=is_waited_for)
        if self.num_replicas > 1:
            shard_bytes = num_bytes // one.num_shards
            communicate(Collective(CollectiveKind.ALL_REDUCE, shard_bytes, joins_replicas=True), num_calls)

    def of(self, unit: Unit) -> Gathered:
        """Return a unit as this schedule handles it."""
        return Gathered(unit, unit, self.num_shards, holds_gradients=self.holds_gradients)

    def start(self) -> None:
        """Begin the forward pass of the model."""

    def begin_tail(self) -> None:
        """Begin the forward pass of what comes after the layers."""

    def before(self, one: Gathered) -> None:
        """Begin the forward pass of a layer, or of the embedding."""

    def after(self, one: Gathered) -> None:
        """End the forward pass of a layer, or of the embedding."""

    def begin_reference(self) -> None:
        """End the forward pass of the model, and begin that of a reference."""

    def end_reference(self) -> None:
        """End the forward pass of a reference."""

    def turn(self) -> None:
        """End the forward pass of the model, loss included, and begin the backward pass."""

    def tail_back(self) -> None:
        """Begin the backward pass of the head."""

    def layers_back(self) -> None:
        """End the backward pass of what comes after the layers."""

    def before_back(self, one: Gathered) -> None:
        """Begin the backward pass of a unit."""

    def after_back(self, one: Gathered) -> None:
        """End the backward pass of a unit."""

    def finish(self) -> None:
        """End the backward pass of the model."""
