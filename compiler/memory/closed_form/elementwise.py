"""The elementwise operations and norms of a decoder on sizes: what each allocates, saves, and costs going back.

Every method returns a value that the caller holds and must drop where Python would. Sources: the derivative
formulas of PyTorch's `tools/autograd/derivatives.yaml` and `FunctionsManual.cpp`, the CUDA kernels named at each
method, and the modelling code of transformers 4.39 to 5.23.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.size import ZERO, per_token
from kaitoc.compiler.memory.closed_form.tape import Tape
from kaitoc.compiler.memory.closed_form.value import Value

FLOAT32_BYTES = 4
HALF_BYTES = 2


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


class Elementwise:
    """Operations on one tape that keep a tensor's shape."""

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
