"""The parameters of a model by the units that are gathered together, and their share on one process."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.dtypes import quantized_bytes, table_bytes
from kaitoc.compiler.memory.closed_form.layout import Experts, Layer, Plan
from kaitoc.compiler.memory.closed_form.linear import Linear
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES
from kaitoc.compiler.memory.workload import Quantization, Workload
from kaitoc.compiler.memory.workload_key import key_of_plan


@dataclass(frozen=True, slots=True)
class Parameter:
    """Equal parameters, split among processes along their first dimension of `num_rows`.

    An element takes `num_bytes` in its shard and `gathered_bytes` when it is put together. `copies` have that shape.
    `is_packed`: 4-bit weights, several to an element.
    """

    num_rows: int
    row_length: int
    num_bytes: int
    gathered_bytes: int
    is_trained: bool
    copies: int = 1
    is_adapter: bool = False
    is_packed: bool = False

    def shard_elements(self, num_shards: int) -> int:
        """Return the elements of all copies in the largest shard: rows are dealt out in equal chunks, rounded up."""
        return -(-self.num_rows // num_shards) * self.row_length * self.copies

    def gathered_elements(self, num_shards: int) -> int:
        """Return the elements of all copies put together, padding included."""
        return self.shard_elements(num_shards) * num_shards

    @property
    def num_elements(self) -> int:
        """Return the elements of all copies."""
        return self.num_rows * self.row_length * self.copies


@dataclass(frozen=True, slots=True)
class Unit:
    """Parameters that one collective gathers, such as a decoder layer's."""

    parameters: tuple[Parameter, ...]

    def shard_elements(self, num_shards: int) -> int:
        """Return the elements that a process keeps of the unit."""
        return sum(one.shard_elements(num_shards) for one in self.parameters)

    def shard_sizes(self, num_shards: int) -> tuple[int, ...]:
        """List the bytes that a process keeps of each parameter tensor, copies included."""
        return tuple(
            one.shard_elements(num_shards) // one.copies * one.num_bytes
            for one in self.parameters
            for _ in range(one.copies)
        )

    def shard_bytes(self, num_shards: int) -> int:
        """Return the bytes that a process keeps of the unit."""
        return sum(one.shard_elements(num_shards) * one.num_bytes for one in self.parameters)

    def gathered_bytes(self, num_shards: int) -> int:
        """Sum the gathered unit's bytes in its compute type."""
        return sum(one.gathered_elements(num_shards) * one.gathered_bytes for one in self.parameters)

    def cast_bytes(self, num_shards: int) -> int:
        """Sum the bytes of a shard's parameters that are cast to another type before the gather."""
        return sum(
            one.shard_elements(num_shards) * one.gathered_bytes
            for one in self.parameters
            if one.gathered_bytes != one.num_bytes
        )

    @property
    def num_parameters(self) -> int:
        """Count the parameter tensors, copies included."""
        return sum(one.copies for one in self.parameters)

    @property
    def last_bytes(self) -> int:
        """Return the bytes of the last parameter in its compute type, 0 without one."""
        last = self.parameters[-1] if self.parameters else None
        return last.num_elements // last.copies * last.gathered_bytes if last is not None else 0

    @property
    def stored_bytes(self) -> int:
        """What the unit takes put together as it is kept."""
        return sum(one.num_elements * one.num_bytes for one in self.parameters)

    @property
    def trained(self) -> Unit:
        """The parameters that get gradients."""
        return Unit(tuple(one for one in self.parameters if one.is_trained))

    @property
    def frozen(self) -> Unit:
        """The parameters that get none."""
        return Unit(tuple(one for one in self.parameters if not one.is_trained))


@dataclass(frozen=True, slots=True)
class Units:
    """A model as units. `layers` are runs of equal layers with their counts, as in `Plan`.

    `replicated_bytes` is what every process holds in full: constants of quantized weights, and buffers. With tied
    weights `head` has no parameters of its own.
    """

    embedding: Unit
    positions: Unit
    layers: tuple[tuple[Unit, int], ...]
    norm: Unit
    head: Unit
    replicated_bytes: int

    def all_units(self) -> Iterator[tuple[Unit, int]]:
        """Yield every unit with how often it is there."""
        yield self.embedding, 1
        yield self.positions, 1
        yield from self.layers
        yield self.norm, 1
        yield self.head, 1

    @property
    def tail(self) -> Unit:
        """Final norm and head."""
        return Unit(self.norm.parameters + self.head.parameters)

    @property
    def tied_tail(self) -> Unit:
        """Final norm and head, with the embedding that has the head's weight."""
        return Unit(self.norm.parameters + self.embedding.parameters)

    @property
    def root(self) -> Unit:
        """All around the layers."""
        return Unit(self.embedding.parameters + self.positions.parameters + self.tail.parameters)


def units_of(workload: Workload) -> Units:
    """Return the units of a workload, which are the same for every batch and every number of GPUs."""
    return _units(key_of_plan(workload))


@lru_cache(maxsize=256)
def _units(workload: Workload) -> Units:
    return _Divider(workload, plan_for(workload)).units()


class _Divider:
    """Lists the parameters of a plan.

    With mixed precision all is gathered in the half type, and what is trained is kept in float32
    (`fsdp2_prepare_model` and `prepare_model` of accelerate); with 4-bit weights accelerate leaves types alone.
    """

    def __init__(self, workload: Workload, plan: Plan) -> None:
        self.workload = workload
        self.plan = plan
        self.half_bytes = workload.autocast.num_bytes if workload.autocast is not None else None
        self.widens = self.half_bytes is not None and workload.quantization is Quantization.NONE
        self.replicated_bytes = table_bytes(workload, plan.stack)

    def units(self) -> Units:
        """Divide the plan into units."""
        plan, architecture = self.plan, self.plan.architecture
        positions = Unit(tuple(self._positions()))
        small = self._num_small() - sum(one.num_elements for one in positions.parameters)
        norm = min(small, architecture.hidden_size * (2 if plan.family.norm == "layer" else 1))
        per_layer = (small - norm) // architecture.num_layers
        layers = tuple((Unit(tuple(self._layer(layer, per_layer))), count) for layer, count in plan.layers)
        self.replicated_bytes += sum(self._constant_bytes(layer) * count for layer, count in plan.layers)
        is_tied = architecture.tied_embeddings
        return Units(
            embedding=Unit(tuple(self._vocabulary(plan.embedding_trainable))),
            positions=positions,
            layers=layers,
            norm=Unit((self._parameter(norm, 1, plan.norm_bytes, is_trained=plan.trains_base),)),
            head=Unit(() if is_tied and plan.trains_base else tuple(self._head(is_tied=is_tied))),
            replicated_bytes=self.replicated_bytes,
        )

    def _positions(self) -> Iterator[Parameter]:
        """Yield the table of learned positions, where a model has one."""
        architecture, plan = self.plan.architecture, self.plan
        if plan.family.positions:
            shape = architecture.max_position_embeddings, architecture.hidden_size
            yield self._parameter(*shape, plan.norm_bytes, is_trained=plan.trains_base)

    def _num_small(self) -> int:
        """Return the number of norm weights, biases and tables of positions: what is in no matrix."""
        architecture = self.plan.architecture
        in_layers = sum(
            linear.num_weights * linear.num_stacked * copies * count
            for layer, count in self.plan.layers
            for linear, copies in _linears(layer)
        )
        matrices = 1 if architecture.tied_embeddings else 2
        vocabulary = matrices * architecture.vocab_size * architecture.hidden_size
        return max(0, architecture.num_parameters - in_layers - vocabulary)

    def _vocabulary(self, trainable: bool) -> Iterator[Parameter]:
        """Yield the embedding, or the head, with the copy that `modules_to_save` makes of it."""
        architecture, plan = self.plan.architecture, self.plan
        shape = architecture.vocab_size, architecture.hidden_size
        yield self._parameter(*shape, plan.embedding_bytes, is_trained=plan.trains_base)
        if trainable and not plan.trains_base:
            yield self._parameter(*shape, plan.embedding_bytes, is_trained=True, is_adapter=True)

    def _head(self, *, is_tied: bool) -> Iterator[Parameter]:
        frozen, *saved = self._vocabulary(self.plan.head.trainable)
        if not is_tied:
            yield frozen
        yield from saved

    def _layer(self, layer: Layer, num_small: int) -> Iterator[Parameter]:
        for linear, copies in _linears(layer):
            yield from self._linear(linear, copies)
        if layer.experts is not None and layer.experts.adapter is not None:
            yield from self._expert_adapter(layer.experts, layer.experts.adapter.rank, layer.experts.adapter.num_bytes)
        yield self._parameter(num_small, 1, self.plan.norm_bytes, is_trained=self.plan.trains_base)

    def _linear(self, linear: Linear, copies: int) -> Iterator[Parameter]:
        rows, columns = linear.out_features, linear.in_features
        if linear.num_stacked > 1:
            rows, columns = linear.num_stacked, linear.num_weights
        if linear.quantization is Quantization.NONE:
            trains = self.plan.trains_base
            yield self._parameter(rows, columns, linear.weight_bytes, is_trained=trains, copies=copies)
        else:
            yield self._packed(linear, copies)
        if linear.trainable and not self.plan.trains_base:
            num_bytes = self.workload.dtype.num_bytes
            yield self._parameter(rows, columns, num_bytes, is_trained=True, copies=copies, is_adapter=True)
        adapter = linear.adapter
        if adapter is not None:
            shapes = [(adapter.rank, linear.in_features), (linear.out_features, adapter.rank)]
            for num_rows, length in (*shapes, *([(linear.out_features, 1)] if adapter.dora else [])):
                yield self._parameter(
                    num_rows, length, adapter.num_bytes, is_trained=True, copies=copies, is_adapter=True
                )

    def _packed(self, linear: Linear, copies: int) -> Parameter:
        """Return the nibbles, stored in the type of the other weights so that they can be split (`quant_storage`)."""
        storage_bytes = self.workload.dtype.num_bytes
        rows = -(-linear.num_weights // (2 * storage_bytes))
        return Parameter(rows, 1, storage_bytes, storage_bytes, False, copies, is_packed=True)

    def _expert_adapter(self, experts: Experts, rank: int, num_bytes: int) -> Iterator[Parameter]:
        inward, outward = experts.per_expert
        for linear, one, copies in ((inward, 2 * rank, experts.num_experts), (outward, rank, experts.num_experts),
                                    (experts.router, rank, 1)):  # fmt: skip
            for rows, length in ((one * copies, linear.in_features), (linear.out_features, one * copies)):
                yield self._parameter(rows, length, num_bytes, is_trained=True, is_adapter=True)

    def _parameter(
        self,
        rows: int,
        length: int,
        num_bytes: int,
        *,
        is_trained: bool,
        copies: int = 1,
        is_adapter: bool = False,
    ) -> Parameter:
        stored = FLOAT32_BYTES if is_trained and self.widens else num_bytes
        return Parameter(rows, length, stored, self.half_bytes or stored, is_trained, copies, is_adapter)

    def _constant_bytes(self, layer: Layer) -> int:
        """Return the bytes of block constants in a layer, which sit beside the packed weights."""
        return sum(
            copies
            * (
                quantized_bytes(
                    linear.in_features, linear.out_features, linear.quantization, self.workload.double_quant
                )
                - linear.num_weights // 2
            )
            for linear, copies in _linears(layer)
            if linear.quantization is not Quantization.NONE
        )


def _linears(layer: Layer) -> Iterator[tuple[Linear, int]]:
    """Yield the linear layers of a decoder layer with how many there are of each."""
    for linear in (*layer.attention, layer.output, *layer.mlp):
        yield linear, 1
    experts = layer.experts
    if experts is not None:
        yield experts.router, 1
        for linear in experts.per_expert:
            yield linear, 1 if experts.fused else experts.num_experts
        for linear in (*experts.shared, *([experts.shared_gate] if experts.shared_gate is not None else [])):
            yield linear, 1
