"""Linear layers on sizes: plain, quantised, with LoRA or DoRA.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: the modelling code of peft 0.11 to 0.21 and
bitsandbytes 0.43 to 0.50, and what is named at each method.
"""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.dtypes import quantized_bytes
from kaitoc.compiler.memory.closed_form.elementwise import Elementwise
from kaitoc.compiler.memory.closed_form.kernel import Group, Launch, Unit, launch, traffic
from kaitoc.compiler.memory.closed_form.op import Effects, Kind, Tensor
from kaitoc.compiler.memory.closed_form.product import MatrixProduct
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, HALF_BYTES, ZERO, Size, fixed, per_token
from kaitoc.compiler.memory.workload import Quantization

NUM_NORM_KERNELS = 9
NUM_NORM_PASSES = 13


@dataclass(frozen=True, slots=True)
class Adapter:
    """The LoRA adapter on one linear layer."""

    rank: int
    num_bytes: int
    has_dropout: bool
    dora: bool


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer as the step meets it. `num_stacked` weights lie in one, those of fused experts."""

    in_features: int
    out_features: int
    weight_bytes: int
    quantization: Quantization = Quantization.NONE
    trainable: bool = False
    adapter: Adapter | None = None
    num_stacked: int = 1

    @property
    def num_weights(self) -> int:
        """Return the number of elements of the weight, of one where several are stacked."""
        return self.in_features * self.out_features

    @property
    def num_float32_trained(self) -> int:
        """Return how many float32 elements of the weight and its adapter are trained."""
        adapter = self.adapter
        of_adapter = adapter.rank * (self.in_features + self.out_features) if adapter is not None else 0
        trained = self.num_weights if self.trainable and self.weight_bytes == FLOAT32_BYTES else 0
        return trained + (of_adapter if adapter is not None and adapter.num_bytes == FLOAT32_BYTES else 0)


class LinearOps(Elementwise):
    """Linear layers on one stream."""

    def linear(self, value: Tensor, layer: Linear, group: Group = Group.MLP) -> Tensor:
        """Run a linear layer, whose work counts for `group`, with its LoRA branch, if any, which counts as adapters."""
        with self.stream.inside(Group.ADAPTERS):
            base = self._base_linear(value, layer, group)
            adapter = layer.adapter
            if adapter is None:
                return base
            if layer.quantization is not Quantization.NONE:
                return self._quantized_lora(value, base, layer, adapter)
            return self._lora(value, base, layer, adapter)

    def _lora(self, value: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """PEFT's `Linear`: the input cast to the adapter's type, the sum cast back to the result's."""
        stream = self.stream
        given = self.cast(value, adapter.num_bytes)
        delta = self._delta(given, base, layer, adapter)
        total = self.add(base, delta)
        stream.drop(base, delta)
        output = self.cast(total, base.num_bytes)
        stream.drop(total, given)
        return output

    def _base_linear(self, value: Tensor, layer: Linear, group: Group) -> Tensor:
        with self.stream.inside(group):
            if layer.quantization in (Quantization.NF4, Quantization.FP4):
                return self._linear_4bit(value, layer)
            if layer.quantization is Quantization.INT8:
                return self._linear_8bit(value, layer)
            return self._matmul(value, layer)

    def _matmul(self, value: Tensor, layer: Linear) -> Tensor:
        """`F.linear`: saves the input for a trainable weight, and the weight's cast copy under autocast.

        Going back, the input's gradient is a product, and that of a trained weight another one.
        """
        self.stream.owed = None
        given = self._autocast(value)
        copy_bytes = layer.num_weights * given.num_bytes if given.num_bytes != layer.weight_bytes else 0
        needs_weight = value.needs_grad and copy_bytes > 0
        forward, backward = self._matmul_launches(value, layer, given.num_bytes)
        effects = Effects(
            saves=(given,) if layer.trainable else (),
            saves_size=fixed(copy_bytes) if needs_weight else ZERO,
            forward_temporary=ZERO if needs_weight else fixed(copy_bytes),
            backward_temporary=fixed(layer.num_weights * given.num_bytes) if layer.trainable and copy_bytes else ZERO,
            parameter_gradients=layer.num_weights * layer.weight_bytes if layer.trainable else 0,
            forward=forward,
            backward=backward,
        )
        if self.stream.is_loss and not needs_weight:
            effects = replace(effects, forward=None, backward=None)
        output = self.stream.apply([given], _features(given, layer), given.num_bytes, effects)
        if self.stream.is_loss and not needs_weight:
            self.stream.owed = forward, backward
        self.stream.drop(given)
        return output

    def _matmul_launches(self, value: Tensor, layer: Linear, num_bytes: int) -> tuple[Launch, Launch | None]:
        group = self.stream.group
        product = MatrixProduct(
            group, value.elements, layer.in_features, layer.out_features, num_bytes, layer.num_stacked
        )
        forward = [product.output()]
        if layer.weight_bytes != num_bytes:
            forward.append(traffic(group, fixed(layer.num_weights * (layer.weight_bytes + num_bytes))))
        backward = [product.input_gradient()] if value.needs_grad else []
        if layer.trainable:
            backward.append(product.weight_gradient())
        return launch(*forward), launch(*backward) if backward else None

    def _linear_4bit(self, value: Tensor, layer: Linear) -> Tensor:
        """`bnb.nn.Linear4bit`: computes in its compute type with the weight dequantised to it, both ways."""
        self.stream.owed = None
        given = self.cast(value, self.precision.compute_bytes)
        dequantized = fixed(layer.num_weights * given.num_bytes)
        product = MatrixProduct(
            self.stream.group, value.elements, layer.in_features, layer.out_features, given.num_bytes
        )
        packed = quantized_bytes(layer.num_weights, layer.out_features, layer.quantization, self.precision.double_quant)
        dequantize = traffic(Group.DEQUANTIZATION, fixed(packed) + dequantized)
        num_dequantize_kernels = 3 if self.precision.double_quant else 1
        effects = Effects(
            retains=(given,) if self.precision.retains_quantized_inputs else (),
            forward_temporary=dequantized,
            backward_temporary=dequantized,
            forward=launch(dequantize, product.output()),
            backward=launch(dequantize, product.input_gradient(), num_launches=num_dequantize_kernels + 1),
        )
        result = self.stream.apply([given], _features(given, layer), given.num_bytes, effects)
        self.stream.drop(given)
        output = self.cast(result, value.num_bytes)
        self.stream.drop(result)
        return output

    def _linear_8bit(self, value: Tensor, layer: Linear) -> Tensor:
        """`bnb.MatMul8bitLt`: int8 input, int32 product, float16 casts; keeps its input, as it is, on the context.

        Rows are quantised, and the product's result is scaled; going back, the weight is dequantised to half precision.
        """
        rows = value.elements
        quantized = rows + rows * HALF_BYTES + per_token(FLOAT32_BYTES * layer.out_features)
        forward, backward = self._8bit_launches(value, layer)
        effects = Effects(
            retains=(value,),
            forward_temporary=quantized,
            backward_temporary=fixed(layer.num_weights * HALF_BYTES),
            forward=forward,
            backward=backward,
        )
        num_bytes = self.precision.autocast_bytes
        is_cast = bool(num_bytes) and value.num_bytes != num_bytes
        self.stream.owed = None
        if is_cast:
            effects = replace(effects, forward=None, backward=None)
        output = self.stream.apply([value], _features(value, layer), value.num_bytes, effects)
        if is_cast:
            self.stream.owed = forward, backward if value.needs_grad else None
        return output

    def _8bit_launches(self, value: Tensor, layer: Linear) -> tuple[Launch, Launch]:
        rows, group = value.elements, self.stream.group
        product = MatrixProduct(group, rows, layer.in_features, layer.out_features, HALF_BYTES)
        results = rows.scaled(layer.out_features, layer.in_features)
        quantize = traffic(Group.DEQUANTIZATION, rows * (HALF_BYTES + HALF_BYTES + 1))
        scale = traffic(Group.DEQUANTIZATION, results * (FLOAT32_BYTES + HALF_BYTES))
        dequantize = traffic(Group.DEQUANTIZATION, fixed(layer.num_weights * (1 + HALF_BYTES)))
        return launch(quantize, product.output(Unit.INT8), scale), launch(dequantize, product.input_gradient())

    def _low_rank(self, given: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """`lora_B(lora_A(dropout(x))) * scaling`."""
        up = self._low_rank_without_scale(given, layer, adapter)
        return self.stream.replace(self.copy(up), up)

    def _quantized_lora(self, value: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """PEFT's `Linear4bit` and `Linear8bitLt`: no input cast under autocast, the delta cast to the result's type."""
        stream = self.stream
        result = base
        if self.precision.clones_quantized_result and layer.quantization is not Quantization.INT8:
            result = self.stream.replace(self.copy(base), base)
        given = stream.hold(value) if self.precision.autocast_bytes else self.cast(value, adapter.num_bytes)
        delta = self._delta(given, result, layer, adapter)
        if not self.precision.autocast_bytes:
            delta = self.stream.replace(self.cast(delta, result.num_bytes), delta)
        output = self.add(result, delta)
        stream.drop(result, delta, given)
        return output

    def _delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """Return what the adapter adds to the base layer's result."""
        return self._dora_delta(given, base, layer, adapter) if adapter.dora else self._low_rank(given, layer, adapter)

    def _dora_delta(self, given: Tensor, base: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        """`peft/tuners/lora/dora.py`: the merged weight's norm, then magnitude times the low-rank result.

        With dropout the base result is computed again from the widened weight, which is then saved.
        """
        stream, num_bytes = self.stream, adapter.num_bytes
        matrix = fixed(layer.num_weights * num_bytes)
        widened = matrix if num_bytes != layer.weight_bytes else ZERO
        self._dora_norm(layer, adapter, matrix, widened)
        held = stream.new(matrix + widened, 1, False, Kind.WORKSPACE)
        if adapter.has_dropout:
            effects = Effects(saves_size=widened if given.needs_grad else ZERO)
            base = stream.apply([given], per_token(layer.out_features), num_bytes, effects)
        else:
            stream.hold(base)
        low_rank = self._low_rank_without_scale(given, layer, adapter)
        scaled_base = self._times_magnitude(base, num_bytes, layer.out_features * num_bytes)
        stream.drop(base)
        scaled = self._times_magnitude(low_rank, num_bytes, 0)
        scaled = self.stream.replace(self.copy(scaled), scaled)
        delta = self.add(scaled_base, scaled)
        stream.drop(scaled_base, scaled, low_rank, held)
        return delta

    def _dora_norm(self, layer: Linear, adapter: Adapter, matrix: Size, widened: Size) -> None:
        """Take the norm of the merged weight (`peft/tuners/lora/dora.py`), as every forward pass does.

        The adapter's product with an identity matrix, the weight's widened copy, the product scaled, the sum and its
        norm: 13 passes over a matrix of the adapter's type. An identity matrix, the low-rank product, the widened
        weight, and their scaled sum live together.
        """
        rank, num_bytes = adapter.rank, adapter.num_bytes
        square = layer.in_features * layer.in_features
        down = MatrixProduct(Group.ADAPTERS, fixed(square), layer.in_features, rank, num_bytes)
        up = MatrixProduct(Group.ADAPTERS, fixed(layer.in_features * rank), rank, layer.out_features, num_bytes)
        norm = traffic(Group.ADAPTERS, matrix * NUM_NORM_PASSES)
        self.stream.scratch(
            fixed(square * num_bytes) + matrix + widened + matrix * 2,
            launch(down.output(), up.output(), norm, num_launches=NUM_NORM_KERNELS),
        )

    def _times_magnitude(self, value: Tensor, num_bytes: int, parameter_gradients: int) -> Tensor:
        effects = Effects(
            saves=(value,),
            backward_temporary=value.elements * num_bytes,
            parameter_gradients=parameter_gradients,
        )
        return self.stream.apply([value], value.elements, num_bytes, effects)

    def _low_rank_without_scale(self, given: Tensor, layer: Linear, adapter: Adapter) -> Tensor:
        stream = self.stream
        dropped = self.dropout(given) if adapter.has_dropout else stream.hold(given)
        down = self._matmul(dropped, Linear(layer.in_features, adapter.rank, adapter.num_bytes, trainable=True))
        stream.drop(dropped)
        up = self._matmul(down, Linear(adapter.rank, layer.out_features, adapter.num_bytes, trainable=True))
        stream.drop(down)
        return up


def _features(value: Tensor, layer: Linear) -> Size:
    """Return the element count of a linear layer's output for the rows of its input."""
    return per_token(value.elements.per_token * layer.out_features // layer.in_features)
