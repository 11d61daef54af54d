"""The operations of a decoder on sizes: what each allocates, what autograd saves for it, and what going back costs.

Every method returns a value that the caller holds and must drop where Python would. Sources: the derivative
formulas of PyTorch's `tools/autograd/derivatives.yaml` and `FunctionsManual.cpp`, the CUDA kernels named at each
method, and the modelling code of transformers 4.39 to 5.23, peft 0.11 to 0.21, bitsandbytes 0.43 to 0.50.
"""

from __future__ import annotations

from kaitoc.compiler.memory.footprint_size import ZERO, Size, fixed, per_pair, per_token
from kaitoc.compiler.memory.footprint_tape import Kind, Tape, Value
from kaitoc.compiler.memory.workload import Quantization
from kaitoc.compiler.records import dataclass

FLOAT32_BYTES = 4
HALF_BYTES = 2


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


@dataclass(frozen=True, slots=True)
class Precision:
    """Numeric behaviour of the run: the autocast type's size (None when off), bitsandbytes' compute type's size,
    whether PEFT's quantised layers clone the base result before adding to it, and whether bitsandbytes' 4-bit layers
    hold on to their inputs.
    """

    autocast_bytes: int | None
    compute_bytes: int
    clones_quantized_result: bool = True
    retains_quantized_inputs: bool = False


class Ops:
    """Operations on one tape."""

    def __init__(self, tape: Tape, precision: Precision) -> None:
        self.tape = tape
        self.precision = precision

    def cast(self, value: Value, num_bytes: int) -> Value:
        """`Tensor.to(dtype)`: a copy unless the type is already right; saves nothing."""
        if value.num_bytes == num_bytes:
            return self.tape.hold(value)
        return self.tape.apply([value], value.elements, num_bytes, kind=value.buffer.kind)

    def copy(self, value: Value) -> Value:
        """`clone`, `contiguous` or a scaling by a constant: a new tensor, nothing saved."""
        return self.tape.apply([value], value.elements, value.num_bytes, kind=value.buffer.kind)

    def add(self, left: Value, right: Value) -> Value:
        """Sum of two tensors of one shape; both gradients are the output's, cast where types differ."""
        num_bytes = max(left.num_bytes, right.num_bytes)
        grads = [ZERO if value.num_bytes == num_bytes else value.size for value in (left, right)]
        return self.tape.apply([left, right], left.elements, num_bytes, grads=grads)

    def multiply(self, left: Value, right: Value) -> Value:
        """Elementwise product, which saves each factor that the other's gradient needs."""
        saves = [other for value, other in ((left, right), (right, left)) if value.needs_grad]
        return self.tape.apply([left, right], left.elements, max(left.num_bytes, right.num_bytes), saves=saves)

    def unary(self, value: Value, *, saves_input: bool = True, saves_output: bool = False) -> Value:
        """Apply an activation function that has its own kernel (silu, gelu, tanh)."""
        saves = [value] if saves_input else []
        return self.tape.apply(
            [value], value.elements, value.num_bytes, saves=saves, saves_output=saves_output, kind=value.buffer.kind
        )

    def dropout(self, value: Value) -> Value:
        """`native_dropout` on CUDA: an output and a mask of one byte per element (`Dropout.cu`)."""
        return self.tape.apply([value], value.elements, value.num_bytes, saves_size=value.elements)

    def rms_norm(self, value: Value, *, weight_bytes: int, num_trained: int, multiplies_in_float32: bool) -> Value:
        """RMSNorm as written in transformers: computed in float32, cast back, times the weight.

        `num_trained` is the number of weights when they are trained, else 0. `multiplies_in_float32` is Gemma's order,
        weight first, cast last. Backward of `pow(2)` forms
        `grad * (2 * x)` from two temporaries (`pow_backward`), that of `mean` a full-size quotient.
        """
        tape, size = self.tape, value.elements
        given_bytes = value.num_bytes
        float32 = size.times(FLOAT32_BYTES)
        row = per_token(FLOAT32_BYTES)
        wide = self.cast(value, FLOAT32_BYTES)
        squares = tape.apply([wide], size, FLOAT32_BYTES, saves=[wide], backward_temporary=float32.times(2))
        mean = tape.apply([squares], per_token(1), FLOAT32_BYTES)
        tape.drop(squares)
        inverse = tape.apply([mean], per_token(1), FLOAT32_BYTES, saves_output=True)
        tape.drop(mean)
        saves = [wide, inverse] if value.needs_grad else []
        normed = tape.apply(
            [wide, inverse], size, FLOAT32_BYTES, saves=saves, grads=[float32, row], backward_temporary=float32
        )
        tape.drop(wide, inverse)
        parameter_bytes = num_trained * weight_bytes
        if multiplies_in_float32:
            scaled = self._scale_by_weight(normed, FLOAT32_BYTES, parameter_bytes)
            tape.drop(normed)
            output = self.cast(scaled, given_bytes)
            tape.drop(scaled)
            return output
        narrow = self.cast(normed, given_bytes)
        output = self._scale_by_weight(narrow, max(given_bytes, weight_bytes), parameter_bytes)
        tape.drop(narrow, normed)
        return output

    def layer_norm(self, value: Value, *, weight_bytes: int, trainable: bool) -> Value:
        """`native_layer_norm`: saves its input and two statistics per token; float32 under autocast."""
        given = self.cast(value, FLOAT32_BYTES) if self.precision.autocast_bytes else self.tape.hold(value)
        output = self.tape.apply(
            [given],
            given.elements,
            given.num_bytes,
            saves=[given],
            saves_size=per_token(2 * FLOAT32_BYTES),
            parameter_gradients=2 * given.elements[1] * weight_bytes if trainable else 0,
        )
        self.tape.drop(given)
        return output

    def rotary(self, value: Value) -> Value:
        """`x * cos + rotate_half(x) * sin` of transformers; saves only the shared tables.

        Going back holds the incoming gradient, its product with sin and two zero-padded halves (`cat` and
        `slice_backward`; the negated half is gone when the second is padded), then adds the product with cos.
        """
        size = value.size
        return self.tape.apply(
            [value],
            value.elements,
            value.num_bytes,
            forward_temporary=size.times(2),
            backward_temporary=size.times(2),
        )

    def linear(self, value: Value, layer: Linear) -> Value:
        """Run a linear layer with its LoRA branch, if any."""
        base = self._base_linear(value, layer)
        adapter = layer.adapter
        if adapter is None:
            return base
        if layer.quantization is not Quantization.NONE:
            return self._quantized_lora(value, base, layer, adapter)
        if adapter.dora:
            return self._dora(value, base, layer, adapter)
        result_bytes = base.num_bytes
        given = self.cast(value, adapter.num_bytes)
        delta = self._low_rank(given, layer, adapter)
        total = self.add(base, delta)
        self.tape.drop(base, delta)
        output = self.cast(total, result_bytes)
        self.tape.drop(total, given)
        return output

    def sdpa(self, query: Value, key: Value, value: Value, *, num_heads: int, makes_mask: bool = False) -> Value:
        """Fused attention: saves query, key, value, output and one float32 log-sum-exp per head and token.

        Backward of the flash kernel accumulates the query's gradient in float32 and holds a row sum per head
        (`flash_api.cpp`, `dq_accum` and `softmax_d`), and so does the memory-efficient one. `makes_mask`: the
        layer saves a mask of its own in the query's type, made of truth values (`convert_boolean_attn_mask`,
        `attention.cpp`) or by indexing.
        """
        inputs = [self._autocast(item) for item in (query, key, value)]
        statistics = per_token(FLOAT32_BYTES * num_heads)
        mask = per_pair(inputs[0].num_bytes) if makes_mask else ZERO
        output = self.tape.apply(
            inputs,
            inputs[0].elements,
            inputs[0].num_bytes,
            saves=inputs,
            saves_output=True,
            saves_size=statistics.plus(mask),
            backward_temporary=inputs[0].elements.times(FLOAT32_BYTES).plus(statistics),
        )
        self.tape.drop(*inputs)
        return output

    def math_attention(
        self, query: Value, key: Value, value: Value, *, num_heads: int, has_dropout: bool, copies_keys: bool
    ) -> Value:
        """Attend as PyTorch does where heads differ in number and no fused kernel fits, all in float32.

        `_scaled_dot_product_attention_math` (`attention.cpp`): widens a half input, scales query and key, and saves
        the attention weights; `copies_keys`: `matmul` copies a key head to all that share it, which a single sequence
        with a single key head spares it: what is saved of its values is then a view of the projection. `_safe_softmax`
        looks for rows that are masked throughout.
        """
        tape = self.tape
        wide = [self.cast(query, FLOAT32_BYTES)]
        wide += [
            tape.apply([item], query.elements, FLOAT32_BYTES) if copies_keys else self.cast(item, FLOAT32_BYTES)
            for item in (key, value)
        ]
        scaled = [self.copy(item) for item in wide[:2]]
        scores = tape.apply(scaled, per_pair(num_heads), FLOAT32_BYTES, saves=scaled)
        size = scores.size
        weights = tape.apply(
            [scores],
            scores.elements,
            FLOAT32_BYTES,
            saves_output=True,
            forward_temporary=size.plus(scores.elements),
            backward_temporary=size,
        )
        tape.drop(scores)
        if has_dropout:
            weights = self.tape.replace(self.dropout(weights), weights)
        output = tape.apply([weights, wide[2]], query.elements, FLOAT32_BYTES, saves=[weights, wide[2]])
        tape.drop(weights, *scaled, *wide)
        return self.tape.replace(self.cast(output, query.num_bytes), output)

    def eager_scores(
        self, query: Value, key: Value, *, num_heads: int, num_scalings: int, softmax_bytes: int, softcap: bool
    ) -> Value:
        """`softmax(q k^T * scale + mask, dtype=float32).to(dtype)` over all pairs of tokens."""
        tape = self.tape
        inputs = [self._autocast(item) for item in (query, key)]
        scores = tape.apply(inputs, per_pair(num_heads), inputs[0].num_bytes, saves=inputs)
        tape.drop(*inputs)
        for _ in range(num_scalings):
            scores = self.tape.replace(self.copy(scores), scores)
        if softcap:
            scores = self.tape.replace(self.copy(scores), scores)
            scores = self.tape.replace(self.unary(scores, saves_input=False, saves_output=True), scores)
            scores = self.tape.replace(self.copy(scores), scores)
        scores = self.tape.replace(tape.apply([scores], scores.elements, scores.num_bytes, grads=[ZERO]), scores)
        given_bytes = scores.num_bytes
        weights = self.tape.replace(self.softmax(scores, softmax_bytes), scores)
        return self.tape.replace(self.cast(weights, given_bytes), weights)

    def softmax(self, scores: Value, num_bytes: int) -> Value:
        """`softmax(scores, dtype)`: saves its output.

        CUDA's backward forms `grad * output` in full (`SoftMax.cu`, `softmax_backward_cuda`), and its forward reads a
        half input without widening it first.
        """
        product = scores.elements.times(num_bytes)
        return self.tape.apply([scores], scores.elements, num_bytes, saves_output=True, backward_temporary=product)

    def weighted_sum(self, weights: Value, value: Value, elements: Size) -> Value:
        """Attention weights times values; saves both."""
        given = self._autocast(value)
        output = self.tape.apply([weights, given], elements, given.num_bytes, saves=[weights, given])
        self.tape.drop(given)
        return output

    def _autocast(self, value: Value) -> Value:
        num_bytes = self.precision.autocast_bytes
        return self.cast(value, num_bytes) if num_bytes else self.tape.hold(value)

    def _scale_by_weight(self, value: Value, num_bytes: int, parameter_bytes: int) -> Value:
        return self.tape.apply(
            [value],
            value.elements,
            num_bytes,
            saves=[value] if parameter_bytes else [],
            backward_temporary=value.elements.times(num_bytes) if parameter_bytes else ZERO,
            parameter_gradients=parameter_bytes,
        )

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
        tape = self.tape
        dropped = self.dropout(given) if adapter.has_dropout else tape.hold(given)
        down = self._matmul(dropped, layer.in_features, adapter.rank, adapter.num_bytes, True)
        tape.drop(dropped)
        up = self._matmul(down, adapter.rank, layer.out_features, adapter.num_bytes, True)
        tape.drop(down)
        scaled = self.copy(up)
        tape.drop(up)
        return scaled

    def _quantized_lora(self, value: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        """PEFT's `Linear4bit` and `Linear8bitLt`: no input cast under autocast, the delta cast to the result's type."""
        tape = self.tape
        result = base
        if self.precision.clones_quantized_result and layer.quantization is not Quantization.INT8:
            result = self.copy(base)
            tape.drop(base)
        given = tape.hold(value) if self.precision.autocast_bytes else self.cast(value, adapter.num_bytes)
        if adapter.dora:
            delta = self._dora_delta(given, result, layer, adapter)
        else:
            delta = self._low_rank(given, layer, adapter)
        if not self.precision.autocast_bytes:
            delta = self.tape.replace(self.cast(delta, result.num_bytes), delta)
        output = self.add(result, delta)
        tape.drop(result, delta, given)
        return output

    def _dora(self, value: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        tape = self.tape
        result_bytes = base.num_bytes
        given = self.cast(value, adapter.num_bytes)
        delta = self._dora_delta(given, base, layer, adapter)
        total = self.add(base, delta)
        tape.drop(base, delta)
        output = self.cast(total, result_bytes)
        tape.drop(total, given)
        return output

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
