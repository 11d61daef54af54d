"""Linear layers on sizes, plain and quantized.

Values are held and dropped as in `closed_form/elementwise.py`. Sources: `torch.nn.functional.linear` under
autocast, bitsandbytes 0.43 to 0.50, and what is named at each method.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.closed_form.detail import Detail
from kaitoc.compiler.memory.closed_form.dtypes import quantized_bytes
from kaitoc.compiler.memory.closed_form.effects import Effects
from kaitoc.compiler.memory.closed_form.elementwise import Elementwise
from kaitoc.compiler.memory.closed_form.kernel import Group, Launch, Unit, launch, traffic
from kaitoc.compiler.memory.closed_form.product import MatrixProduct
from kaitoc.compiler.memory.closed_form.scratch import Piece, together
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES, HALF_BYTES, ZERO, Size, fixed, per_token
from kaitoc.compiler.memory.closed_form.tensor import Tensor
from kaitoc.compiler.memory.workload import Quantization

AWQ_SPLITS = 8
BLOCK_4BIT = 64
"""Weights per constant of bitsandbytes' 4-bit types (`quantize_4bit` of `functional.py`)."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """The LoRA adapter on one linear layer."""

    rank: int
    num_bytes: int
    has_dropout: bool
    dora: bool


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer as the step meets it. `num_stacked` weights lie in one, those of fused experts.

    `is_tied`: it trains the embedding's weight.
    `has_bias` decides which gradient comes first.
    """

    in_features: int
    out_features: int
    weight_bytes: int
    quantization: Quantization = Quantization.NONE
    trainable: bool = False
    adapter: Adapter | None = None
    num_stacked: int = 1
    is_tied: bool = False
    has_bias: bool = False

    @property
    def num_weights(self) -> int:
        """Return the number of elements of the weight, of one where several are stacked."""
        return self.in_features * self.out_features

    @property
    def num_float32_trained(self) -> int:
        """Count the trained float32 elements of the weight and its adapter."""
        adapter = self.adapter
        of_adapter = adapter.rank * (self.in_features + self.out_features) if adapter is not None else 0
        trained = self.num_weights if self.trainable and self.weight_bytes == FLOAT32_BYTES else 0
        return trained + (of_adapter if adapter is not None and adapter.num_bytes == FLOAT32_BYTES else 0)


class LinearOps(Elementwise):
    """Linear layers without adapters on one stream."""

    def base_linear(self, value: Tensor, layer: Linear, group: Group) -> Tensor:
        """Run a layer as it is stored; its work counts for `group`."""
        with self.stream.inside(group):
            if layer.quantization in (Quantization.NF4, Quantization.FP4):
                return self._linear_4bit(value, layer)
            if layer.quantization is Quantization.INT8:
                return self._linear_8bit(value, layer)
            if layer.quantization is Quantization.GPTQ:
                return self._linear_gptq(value, layer)
            if layer.quantization is Quantization.AWQ:
                return self._linear_awq(value, layer)
            return self.matmul(value, layer)

    def matmul(self, value: Tensor, layer: Linear) -> Tensor:
        """`F.linear`: saves the input for a trainable weight, and the weight's cast copy under autocast.

        Going back, the input's gradient is a product, and that of a trained weight another one, which comes first where
        there is no bias (`MmBackward0` computes by the names of its inputs, `mat2` before `self`; `AddmmBackward0`
        `mat1` before `mat2`). Both are views of what the product returns, unless autocast casts the weight's.
        """
        self.stream.owed = None
        given = self._autocast(value)
        copy_bytes = layer.num_weights * given.num_bytes if given.num_bytes != layer.weight_bytes else 0
        needs_weight = value.needs_grad and copy_bytes > 0
        forward, backward = self._matmul_launches(value, layer, given.num_bytes)
        effects = Effects(
            saves=(given,) if layer.trainable else (),
            saves_size=fixed(copy_bytes) if needs_weight else ZERO,
            num_saved_parameters=int(value.needs_grad and not copy_bytes),
            forward_temporary=ZERO if needs_weight else fixed(copy_bytes),
            backward_temporary=fixed(layer.num_weights * given.num_bytes) if layer.trainable and copy_bytes else ZERO,
            parameter_gradients=layer.num_weights * layer.num_stacked * layer.weight_bytes if layer.trainable else 0,
            is_tied=layer.is_tied,
            detail=Detail(
                saved=(fixed(copy_bytes), ZERO) if needs_weight else (),
                weight_first=not layer.has_bias,
                views_gradient=True,
                views_weight=not copy_bytes,
            ),
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
        """`bnb.nn.Linear4bit`: computes in its compute type with the weight dequantized to it, both ways.

        Going back, constants that are quantized too come first (`dequantize_4bit` of bitsandbytes' `functional.py`).
        """
        self.stream.owed = None
        given = self.cast(value, self.precision.compute_bytes)
        dequantized = fixed(layer.num_weights * given.num_bytes)
        product = MatrixProduct(
            self.stream.group, value.elements, layer.in_features, layer.out_features, given.num_bytes
        )
        packed = quantized_bytes(layer.in_features, layer.out_features, layer.quantization, self.precision.double_quant)
        dequantize = traffic(Group.DEQUANTIZATION, fixed(packed) + dequantized)
        num_dequantize_kernels = 3 if self.precision.double_quant else 1
        constants = fixed(-(-layer.num_weights // BLOCK_4BIT) * FLOAT32_BYTES) if self.precision.double_quant else ZERO
        effects = Effects(
            retains=(given,) if self.precision.retains_quantized_inputs else (),
            forward_temporary=dequantized,
            backward_temporary=dequantized,
            detail=Detail(backward=(Piece(constants, 2), Piece(dequantized))),
            forward=launch(dequantize, product.output()),
            backward=launch(dequantize, product.input_gradient(), num_launches=num_dequantize_kernels + 1),
        )
        result = self.stream.apply([given], _features(given, layer), given.num_bytes, effects)
        output = self.cast(result, value.num_bytes)
        self.stream.drop(result, given)
        return output

    def _linear_gptq(self, value: Tensor, layer: Linear) -> Tensor:
        """AutoGPTQ's `QuantLinearFunction` (`triton_utils/dequant.py`): the weight dequantized in half, both ways.

        It saves nothing but the layer's buffers. The kernels of exllama and Marlin have no backward, so that PEFT and
        its users turn them off. A float32 input is narrowed inside of the function.
        """
        self.stream.owed = None
        effects = self._packed_effects(value, layer)
        return self.stream.apply([value], _features(value, layer), HALF_BYTES, effects)

    def _linear_awq(self, value: Tensor, layer: Linear) -> Tensor:
        """AutoAWQ's `WQLinearMMFunction` (`awq/modules/linear/gemm.py`, 0.2.7): as GPTQ's, but it saves its input.

        Up to 1,024 tokens a fused kernel writes eight partial results. Going back multiplies every sequence by a copy
        of the weight.
        """
        self.stream.owed = None
        effects = self._packed_effects(value, layer)
        partial = per_token(AWQ_SPLITS * layer.out_features * HALF_BYTES)
        effects = replace(
            effects,
            saves=(value,),
            forward_temporary=effects.forward_temporary if self.precision.fills_awq_product else partial,
            backward_temporary=fixed((1 + self.precision.num_sequences) * layer.num_weights * HALF_BYTES),
        )
        result = self.stream.apply([value], _features(value, layer), HALF_BYTES, effects)
        return result

    def _packed_effects(self, value: Tensor, layer: Linear) -> Effects:
        product = MatrixProduct(self.stream.group, value.elements, layer.in_features, layer.out_features, HALF_BYTES)
        group_size = self.precision.group_size
        packed = quantized_bytes(layer.in_features, layer.out_features, layer.quantization, False, group_size)
        dequantized = fixed(layer.num_weights * HALF_BYTES)
        dequantize = traffic(Group.DEQUANTIZATION, fixed(packed) + dequantized)
        narrowed = value.elements * HALF_BYTES if value.num_bytes != HALF_BYTES else ZERO
        return Effects(
            forward_temporary=dequantized + narrowed,
            backward_temporary=dequantized,
            forward=launch(dequantize, product.output()),
            backward=launch(dequantize, product.input_gradient(), num_launches=2),
        )

    def _linear_8bit(self, value: Tensor, layer: Linear) -> Tensor:
        """`bnb.MatMul8bitLt`: int8 input, int32 product, float16 casts; keeps its input, as it is, on the context.

        Rows are quantized, and the product's result is scaled; going back, the weight is dequantized to half precision.
        """
        rows, product = value.elements, per_token(FLOAT32_BYTES * layer.out_features)
        quantized, dequantized = rows + rows * HALF_BYTES + product, fixed(layer.num_weights * HALF_BYTES)
        forward, backward = self._8bit_launches(value, layer)
        effects = Effects(
            retains=(value,),
            forward_temporary=quantized,
            backward_temporary=dequantized,
            detail=Detail((Piece(rows * HALF_BYTES, 2), Piece(rows)), together(product), together(dequantized)),
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


def _features(value: Tensor, layer: Linear) -> Size:
    """Return the element count of a linear layer's output for the rows of its input."""
    return per_token(value.elements.per_token * layer.out_features // layer.in_features)
