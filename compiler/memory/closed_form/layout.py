"""What each layer of a resolved workload holds: linear layers, experts, and what is trained."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import Family
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear
from kaitoc.compiler.memory.stacks import Stack


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: `per_expert` are the linears of one expert, `top_k` the experts a token visits.

    `adapter` is set where PEFT adds to the fused weights themselves.
    """

    router: Linear
    per_expert: tuple[Linear, ...]
    num_experts: int
    top_k: int
    fused: bool
    shared: tuple[Linear, ...] = ()
    shared_gate: Linear | None = None
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer. `gradient_bytes` are those of all its trainable parameters.

    `is_masked`: its attention gets a mask, as its window is shorter than the sequence or the batch is padded.
    """

    attention: tuple[Linear, ...]
    output: Linear
    mlp: tuple[Linear, ...]
    experts: Experts | None
    gradient_bytes: int
    is_masked: bool = False

    @property
    def num_float32_trained(self) -> int:
        """Count the trained float32 weights of linear layers, adapters included."""
        experts = self.experts
        found = sum(linear.num_float32_trained for linear in (*self.attention, self.output, *self.mlp))
        if experts is not None and not experts.fused:
            found += experts.num_experts * sum(linear.num_float32_trained for linear in experts.per_expert)
            found += sum(linear.num_float32_trained for linear in (experts.router, *experts.shared))
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A workload resolved. `config` has the model type's defaults where `config.json` is silent. `layers` are runs of
    equal layers with their counts.

    `trainable` are (number of elements, bytes per element) of every trainable tensor.
    """

    architecture: Architecture
    config: Mapping[str, object]
    family: Family
    stack: Stack
    layers: tuple[tuple[Layer, int], ...]
    head: Linear
    embedding_trainable: bool
    embedding_bytes: int
    embedding_adapter: Adapter | None
    norm_bytes: int
    trains_base: bool
    weights_bytes: int
    adapter_bytes: int
    gradient_bytes: int
    trainable: tuple[tuple[int, int, int], ...]

    @property
    def num_trainable(self) -> int:
        """Count the trained elements of all parameters, adapters included."""
        return sum(count * elements for count, elements, _ in self.trainable)
