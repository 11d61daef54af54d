"""The elementwise operations and norms of a decoder on sizes: what each allocates, saves, and costs going back.

Every method returns a value that the caller holds and must drop where Python would. Sources: the derivative
formulas of PyTorch's `tools/autograd/derivatives.yaml` and `FunctionsManual.cpp`, the CUDA kernels named at each
method, and the modelling code of transformers 4.39 to 5.23.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.detail import NO_DETAIL, Detail
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.kernel import launch, traffic
from kaitoc.compiler.memory.closed_form.op import PASSED_ON
from kaitoc.compiler.memory.closed_form.scratch import Piece, together
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, ZERO, per_token
from kaitoc.compiler.memory.closed_form.stream import StreamBuilder
from kaitoc.compiler.memory.closed_form.tensor import Kind, Tensor

NUM_ROTARY_KERNELS = 5
NUM_ROTARY_BACKWARD_KERNELS = 9


@dataclass(frozen=True, slots=True)
class Precision:
    """Numeric behaviour of the run: the autocast type's size (None when off), bitsandbytes' compute type's size,
    whether PEFT's quantized layers clone the base result before adding to it, whether bitsandbytes' 4-bit layers
    hold on to their inputs, and whether their block constants are quantized too. `group_size` is that of packed
    weights. `casts_gptq_input`: PEFT treats GPTQ layers like plain ones. For AWQ the sequences of a batch, and whether
    they have the tokens for a plain product. `recomputes`: saved tensors come from a checkpoint that is not reentrant,
    which has no other reference to them.
    """

    autocast_bytes: int | None
    compute_bytes: int
    clones_quantized_result: bool = True
    retains_quantized_inputs: bool = False
    double_quant: bool = False
    group_size: int = 0
    casts_gptq_input: bool = False
    num_sequences: int = 1
    fills_awq_product: bool = True
    recomputes: bool = False


class Elementwise:
    """Operations on one stream that keep a tensor's shape."""

    def __init__(self, stream: StreamBuilder, precision: Precision) -> None:
        self.stream = stream
        self.precision = precision

    def cast(self, value: Tensor, num_bytes: int) -> Tensor:
        """`Tensor.to(dtype)`: a copy unless the type is already right; saves nothing."""
        if value.num_bytes == num_bytes:
            return self.stream.hold(value)
        return self.stream.apply([value], value.elements, num_bytes, Effects(kind=value.storage.kind))

    def copy(self, value: Tensor) -> Tensor:
        """`clone`, `contiguous` or a scaling by a constant: a new tensor, nothing saved."""
        return self.stream.apply([value], value.elements, value.num_bytes, Effects(kind=value.storage.kind))

    def add(self, left: Tensor, right: Tensor, detail: Detail = NO_DETAIL) -> Tensor:
        """Sum of two tensors of one shape; both gradients are the output's, cast where types differ."""
        num_bytes = max(left.num_bytes, right.num_bytes)
        gradients = tuple(PASSED_ON if value.num_bytes == num_bytes else value.size for value in (left, right))
        effects = Effects(gradients=gradients, detail=detail)
        return self.stream.apply([left, right], left.elements, num_bytes, effects)

    def multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """Elementwise product, which saves each factor that the other's gradient needs.

        A narrower factor's gradient is computed in the product's type, then narrowed (`validate_outputs` of
        `engine.cpp`), when factors that a checkpoint computed again are gone.
        """
        num_bytes = max(left.num_bytes, right.num_bytes)
        narrow = [one for one in (left, right) if one.needs_grad and one.num_bytes < num_bytes]
        again = self.precision.recomputes
        wider = sum((one.elements * (num_bytes - one.num_bytes * again) for one in narrow), ZERO)
        effects = Effects(saves=self._factors(left, right), backward_temporary=wider)
        return self.stream.apply([left, right], left.elements, num_bytes, effects)

    def unary(self, value: Tensor, *, saves_input: bool = True, saves_output: bool = False) -> Tensor:
        """Apply an activation function that has its own kernel (silu, gelu, tanh)."""
        kind = value.storage.kind
        effects = Effects(
            saves=(value,) if saves_input else (),
            saves_output=saves_output,
            kind=kind,
            reads_again=value.size if kind is Kind.LOGITS and saves_output else ZERO,
        )
        return self.stream.apply([value], value.elements, value.num_bytes, effects)

    def dropout(self, value: Tensor) -> Tensor:
        """`native_dropout` on CUDA: an output and a mask of one byte per element (`Dropout.cu`)."""
        return self.stream.apply([value], value.elements, value.num_bytes, Effects(saves_size=value.elements))

    def rms_norm(self, value: Tensor, *, weight_bytes: int, num_trained: int, multiplies_in_float32: bool) -> Tensor:
        """RMSNorm as written in transformers: computed in float32, cast back, times the weight.

        `num_trained` is the number of weights when they are trained, else 0. `multiplies_in_float32` is Gemma's order,
        weight first, cast last. Backward of `pow(2)` forms
        `grad * (2 * x)` from two temporaries (`pow_backward`), that of `mean` a full-size quotient.
        """
        stream, size = self.stream, value.elements
        given_bytes = value.num_bytes
        wide = self.cast(value, FLOAT32_BYTES)
        inverse = self._inverse_norm(wide)
        float32 = size * FLOAT32_BYTES
        effects = Effects(
            saves=(wide, inverse) if value.needs_grad else (),
            gradients=(float32, per_token(FLOAT32_BYTES)),
            backward_temporary=float32,
        )
        normed = stream.apply([wide, inverse], size, FLOAT32_BYTES, effects)
        stream.drop(wide, inverse)
        parameter_bytes = num_trained * weight_bytes
        if multiplies_in_float32:
            scaled = self._scale_by_weight(normed, FLOAT32_BYTES, parameter_bytes)
            stream.drop(normed)
            output = self.cast(scaled, given_bytes)
            stream.drop(scaled)
            return output
        narrow = self.cast(normed, given_bytes)
        output = self._scale_by_weight(narrow, max(given_bytes, weight_bytes), parameter_bytes)
        stream.drop(narrow, normed)
        return output

    def _inverse_norm(self, wide: Tensor) -> Tensor:
        """`rsqrt(mean(x ** 2) + eps)`, one element per token."""
        stream, size = self.stream, wide.elements
        float32 = size * FLOAT32_BYTES
        squaring = Effects(
            saves=(wide,), backward_temporary=float32 * 2, detail=Detail(backward=together(float32, float32))
        )
        squares = stream.apply([wide], size, FLOAT32_BYTES, squaring)
        mean = stream.apply([squares], per_token(1), FLOAT32_BYTES)
        stream.drop(squares)
        inverse = stream.apply([mean], per_token(1), FLOAT32_BYTES, Effects(saves_output=True))
        stream.drop(mean)
        return inverse

    def layer_norm(self, value: Tensor, *, weight_bytes: int, trainable: bool) -> Tensor:
        """`native_layer_norm`: saves its input and two statistics per token; float32 under autocast."""
        given = self.cast(value, FLOAT32_BYTES) if self.precision.autocast_bytes else self.stream.hold(value)
        effects = Effects(
            saves=(given,),
            saves_size=per_token(2 * FLOAT32_BYTES),
            num_saved_parameters=1,
            parameter_gradients=2 * given.elements.per_token * weight_bytes if trainable else 0,
        )
        output = self.stream.apply([given], given.elements, given.num_bytes, effects)
        self.stream.drop(given)
        return output

    def rotary(self, value: Tensor, table_bytes: int, num_rotated: int = 1, num_features: int = 1) -> Tensor:
        """`x * cos + rotate_half(x) * sin` of transformers; saves only the shared tables, and is widened to their type.

        Going back holds the incoming gradient, its product with sin and two zero-padded halves (`cat` and
        `slice_backward`; the negated half is gone when the second is padded), then adds the product with cos.
        Both products, the negated half, the concatenation and the sum move 10 times the tensor; going back, padding
        and adding the two slices makes it 9 kernels, 14 times. Read tensor by tensor, `num_rotated` of `num_features`
        are rotated.
        """
        num_bytes, group = max(value.num_bytes, table_bytes), self.stream.group
        size = value.elements * num_bytes
        part, half = size.scaled(num_rotated, num_features), value.size.scaled(num_rotated, 2 * num_features)
        self.stream.owed = None
        effects = Effects(
            forward_temporary=size * 2,
            backward_temporary=size * 2,
            later_pieces=(Piece(part, 1), Piece(part)),
            detail=Detail(
                before=(Piece(part), Piece(half, 3), Piece(part, 4), Piece(part)),
                output=part,
                backward=(Piece(part, 3), Piece(half, 2)),
            ),
            forward=launch(traffic(group, size * 10), num_launches=NUM_ROTARY_KERNELS),
            backward=launch(traffic(group, size * 14), num_launches=NUM_ROTARY_BACKWARD_KERNELS),
        )
        return self.stream.apply([value], value.elements, num_bytes, effects)

    @staticmethod
    def _factors(left: Tensor, right: Tensor) -> tuple[Tensor, ...]:
        """Return the factors of a product that it saves, each for the gradient of the other."""
        return tuple(other for value, other in ((left, right), (right, left)) if value.needs_grad)

    def _autocast(self, value: Tensor) -> Tensor:
        num_bytes = self.precision.autocast_bytes
        return self.cast(value, num_bytes) if num_bytes else self.stream.hold(value)

    def _scale_by_weight(self, value: Tensor, num_bytes: int, parameter_bytes: int) -> Tensor:
        effects = Effects(
            saves=(value,) if parameter_bytes else (),
            num_saved_parameters=int(value.needs_grad),
            backward_temporary=value.elements * num_bytes if parameter_bytes else ZERO,
            parameter_gradients=parameter_bytes,
        )
        return self.stream.apply([value], value.elements, num_bytes, effects)
