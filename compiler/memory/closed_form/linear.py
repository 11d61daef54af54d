"""Linear layers on sizes: plain, quantised, with LoRA or DoRA.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: the modelling code of peft 0.11 to 0.21 and
bitsandbytes 0.43 to 0.50, and what is named at each method.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.elementwise import FLOAT32_BYTES, HALF_BYTES, Elementwise
from kaitoc.compiler.memory.closed_form.size import ZERO, Size, fixed, per_token
from kaitoc.compiler.memory.closed_form.value import Kind, Value
from kaitoc.compiler.memory.workload import Quantization


@dataclass(frozen=True, slots=True)
class Adapter:
    """The LoRA adapter on one linear layer."""

    rank: int
    num_bytes: int
    has_dropout: bool
    dora: bool


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer as the step meets it. `share` is the share of tokens it sees, for an expert."""

    in_features: int
    out_features: int
    weight_bytes: int
    quantization: Quantization = Quantization.NONE
    trainable: bool = False
    adapter: Adapter | None = None

    @property
    def num_weights(self) -> int:
        """Return the number of elements of the weight."""
        return self.in_features * self.out_features

    @property
    def num_float32_trained(self) -> int:
        """Return how many float32 elements of the weight and its adapter are trained."""
        adapter = self.adapter
        of_adapter = adapter.rank * (self.in_features + self.out_features) if adapter is not None else 0
        trained = self.num_weights if self.trainable and self.weight_bytes == FLOAT32_BYTES else 0
        return trained + (of_adapter if adapter is not None and adapter.num_bytes == FLOAT32_BYTES else 0)


class LinearOps(Elementwise):
    """Linear layers on one tape."""

    def linear(self, value: Value, layer: Linear) -> Value:
        """Run a linear layer with its LoRA branch, if any."""
        base = self._base_linear(value, layer)
        adapter = layer.adapter
        if adapter is None:
            return base
        if layer.quantization is not Quantization.NONE:
            return self._quantized_lora(value, base, layer, adapter)
        result_bytes = base.num_bytes
        given = self.cast(value, adapter.num_bytes)
        delta = self._delta(given, base, layer, adapter)
        total = self.add(base, delta)
        self.tape.drop(base, delta)
        output = self.cast(total, result_bytes)
        self.tape.drop(total, given)
        return output

    def _base_linear(self, value: Value, layer: Linear) -> Value:
        if layer.quantization in (Quantization.NF4, Quantization.FP4):
            return self._linear_4bit(value, layer)
        if layer.quantization is Quantization.INT8:
            return self._linear_8bit(value, layer)
        return self._matmul(value, layer.in_features, layer.out_features, layer.weight_bytes, layer.trainable)

    def _matmul(self, value: Value, in_features: int, out_features: int, weight_bytes: int, trainable: bool) -> Value:
        """`F.linear`: saves the input for a trainable weight, and the weight's cast copy under autocast."""
        given = self._autocast(value)
        num_weights = in_features * out_features
        copy_bytes = num_weights * given.num_bytes if given.num_bytes != weight_bytes else 0
        needs_weight = value.needs_grad and copy_bytes > 0
        output = self.tape.apply(
            [given],
            _features(given, in_features, out_features),
            given.num_bytes,
            saves=[given] if trainable else [],
            saves_size=fixed(copy_bytes) if needs_weight else ZERO,
            forward_temporary=ZERO if needs_weight else fixed(copy_bytes),
            backward_temporary=fixed(num_weights * given.num_bytes) if trainable and copy_bytes else ZERO,
            parameter_gradients=num_weights * weight_bytes if trainable else 0,
        )
        self.tape.drop(given)
        return output

    def _linear_4bit(self, value: Value, layer: Linear) -> Value:
        """`bnb.nn.Linear4bit`: computes in its compute type with the weight dequantised to it, both ways."""
        given_bytes = value.num_bytes
        given = self.cast(value, self.precision.compute_bytes)
        dequantized = fixed(layer.num_weights * given.num_bytes)
        result = self.tape.apply(
            [given],
            _features(given, layer.in_features, layer.out_features),
            given.num_bytes,
            retains=[given] if self.precision.retains_quantized_inputs else (),
            forward_temporary=dequantized,
            backward_temporary=dequantized,
        )
        self.tape.drop(given)
        output = self.cast(result, given_bytes)
        self.tape.drop(result)
        return output

    def _linear_8bit(self, value: Value, layer: Linear) -> Value:
        """`bnb.MatMul8bitLt`: int8 input, int32 product, float16 casts; keeps its input, as it is, on the context."""
        rows = value.elements
        quantized = rows.plus(rows.times(HALF_BYTES)).plus(per_token(FLOAT32_BYTES * layer.out_features))
        return self.tape.apply(
            [value],
            _features(value, layer.in_features, layer.out_features),
            value.num_bytes,
            retains=[value],
            forward_temporary=quantized,
            backward_temporary=fixed(layer.num_weights * HALF_BYTES),
        )

    def _low_rank(self, given: Value, layer: Linear, adapter: Adapter) -> Value:
        """`lora_B(lora_A(dropout(x))) * scaling`."""
        up = self._low_rank_without_scale(given, layer, adapter)
        return self.tape.replace(self.copy(up), up)

    def _quantized_lora(self, value: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        """PEFT's `Linear4bit` and `Linear8bitLt`: no input cast under autocast, the delta cast to the result's type."""
        tape = self.tape
        result = base
        if self.precision.clones_quantized_result and layer.quantization is not Quantization.INT8:
            result = self.copy(base)
            tape.drop(base)
        given = tape.hold(value) if self.precision.autocast_bytes else self.cast(value, adapter.num_bytes)
        delta = self._delta(given, result, layer, adapter)
        if not self.precision.autocast_bytes:
            delta = self.tape.replace(self.cast(delta, result.num_bytes), delta)
        output = self.add(result, delta)
        tape.drop(result, delta, given)
        return output

    def _delta(self, given: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        """Return what the adapter adds to the base layer's result."""
        return self._dora_delta(given, base, layer, adapter) if adapter.dora else self._low_rank(given, layer, adapter)

    def _dora_delta(self, given: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        """`peft/tuners/lora/dora.py`: the merged weight's norm, then magnitude times the low-rank result.

        While the norm is taken, an identity matrix, the low-rank product, the widened weight, and their scaled sum
        live together. With dropout the base result is computed again from the widened weight, which is then saved.
        """
        tape, num_bytes = self.tape, adapter.num_bytes
        identity = fixed(layer.in_features * layer.in_features * num_bytes)
        matrix = fixed(layer.num_weights * num_bytes)
        widened = matrix if num_bytes != layer.weight_bytes else ZERO
        tape.mark(identity.plus(matrix).plus(widened).plus(matrix.times(2)))
        held = tape.new(matrix.plus(widened), 1, False, Kind.WORKSPACE)
        if adapter.has_dropout:
            base = tape.apply(
                [given], per_token(layer.out_features), num_bytes, saves_size=widened if given.needs_grad else ZERO
            )
        else:
            tape.hold(base)
        low_rank = self._low_rank_without_scale(given, layer, adapter)
        magnitude_bytes = layer.out_features * num_bytes
        scaled_base = tape.apply(
            [base],
            base.elements,
            num_bytes,
            saves=[base],
            backward_temporary=base.elements.times(num_bytes),
            parameter_gradients=magnitude_bytes,
        )
        tape.drop(base)
        scaled = tape.apply(
            [low_rank],
            low_rank.elements,
            num_bytes,
            saves=[low_rank],
            backward_temporary=low_rank.elements.times(num_bytes),
        )
        scaled = self.tape.replace(self.copy(scaled), scaled)
        delta = self.add(scaled_base, scaled)
        tape.drop(scaled_base, scaled, low_rank, held)
        return delta

    def _low_rank_without_scale(self, given: Value, layer: Linear, adapter: Adapter) -> Value:
        tape = self.tape
        dropped = self.dropout(given) if adapter.has_dropout else tape.hold(given)
        down = self._matmul(dropped, layer.in_features, adapter.rank, adapter.num_bytes, True)
        tape.drop(dropped)
        up = self._matmul(down, adapter.rank, layer.out_features, adapter.num_bytes, True)
        tape.drop(down)
        return up


def _features(value: Value, in_features: int, out_features: int) -> Size:
    """Return the element count of a linear layer's output for the rows of its input."""
    return per_token(value.elements.per_token * out_features // in_features)
