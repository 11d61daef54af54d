"""The matrix products, attention kernels and dequantisations of a step, counted (see `throughput/tape.py`)."""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.dtypes import quantized_bytes
from kaitoc.compiler.memory.closed_form.elementwise import FLOAT32_BYTES, HALF_BYTES, Precision
from kaitoc.compiler.memory.closed_form.linear import Adapter, Linear
from kaitoc.compiler.memory.closed_form.ops import Ops
from kaitoc.compiler.memory.closed_form.plan import Plan
from kaitoc.compiler.memory.closed_form.size import Size, fixed, per_pair, per_token
from kaitoc.compiler.memory.closed_form.value import Value
from kaitoc.compiler.memory.throughput.tape import Group, Kernel, Pass, Pending, Unit, WorkTape, traffic
from kaitoc.compiler.memory.workload import Loss

HALF_TILE = 64
FLOAT32_TILE = 32
FLASH_BACKWARD_PRODUCTS = 5
NUM_ROTARY_KERNELS = 5
NUM_ROTARY_BACKWARD_KERNELS = 9


class WorkOps(Ops):
    """Operations that note their kernels before they run."""

    def __init__(self, tape: WorkTape, precision: Precision, plan: Plan, *, double_quant: bool) -> None:
        super().__init__(tape, precision)
        self.work = tape
        self.double_quant = double_quant
        self._groups: dict[int, Group] = {id(plan.head): Group.HEAD}
        self._copies: dict[int, int] = {}
        for layer, _ in plan.layers:
            self._groups.update({id(linear): Group.ATTENTION for linear in (*layer.attention, layer.output)})
            if layer.experts is not None and layer.experts.fused:
                self._copies.update({id(linear): layer.experts.num_experts for linear in layer.experts.per_expert})

    def chunked_loss(self, plan: Plan, loss: Loss) -> Pending | None:
        """Return the kernels of a loss that never holds all logits, None for one that does.

        In chunks (TRL), each chunk's logits are computed again going back; fused (Liger), the forward pass takes their
        gradient at once. Bytes per logit: widened 6, log-softmax in float32 12, its backward with the zeros that the
        loss fills 20, narrowed 6; the fused kernel reads twice and writes once in half precision.
        """
        if loss is Loss.FULL:
            return None
        head = plan.head
        num_bytes = self.precision.autocast_bytes or head.weight_bytes
        product = _Product(Group.HEAD, per_token(head.in_features), head.in_features, head.out_features, num_bytes)
        gradients = [product.input_gradient(), *([product.weight_gradient()] if head.trainable else [])]
        if loss is Loss.FUSED:
            return Pending(0, (product.output(), self._per_logit(head, 6), *gradients), (), 0)
        logits = (product.output(), self._per_logit(head, 18))
        backward = (*logits, self._per_logit(head, 26), *gradients)
        return Pending(0, logits, backward, len(backward))

    def _per_logit(self, head: Linear, num_bytes: int) -> Kernel:
        return traffic(Group.HEAD, per_token(head.out_features * num_bytes))

    def linear(self, value: Value, layer: Linear) -> Value:
        """Run a linear layer; what its LoRA branch adds counts as adapters."""
        with self.work.inside(Group.ADAPTERS):
            return super().linear(value, layer)

    def rotary(self, value: Value) -> Value:
        """Count the products with both tables, the negated half, the concatenation and the sum, both ways.

        Forward 5 kernels move 10 times the tensor; going back, the two slices are padded with zeros and added
        (`slice_backward`): 9 kernels, 14 times.
        """
        self._expect(
            0,
            (traffic(self.work.group, value.size.times(10)),),
            (traffic(self.work.group, value.size.times(14)),),
            NUM_ROTARY_BACKWARD_KERNELS,
        )
        output = super().rotary(value)
        self.work.count((), Pass.FORWARD, NUM_ROTARY_KERNELS - 1)
        return output

    def sdpa(self, query: Value, key: Value, value: Value, *, num_heads: int, makes_mask: bool = False) -> Value:
        """Count one fused kernel each way: two products forward, five going back (FlashAttention, arXiv 2205.14135).

        The products are counted over all pairs of tokens; whether the kernel skips the masked half is known later.
        """
        skip = sum(self._casts(item) for item in (query, key, value))
        forward, backward = _fused_attention(query, key, value)
        self._expect(skip, (forward,), (backward,), 2)
        with self.work.inside(Group.ATTENTION):
            return super().sdpa(query, key, value, num_heads=num_heads, makes_mask=makes_mask)

    def math_attention(
        self, query: Value, key: Value, value: Value, *, num_heads: int, has_dropout: bool, copies_keys: bool
    ) -> Value:
        """Count both products in float32; what lies between them moves the scores."""
        forward, backward = _score_product(query, num_heads, FLOAT32_BYTES)
        with self.work.inside(Group.ATTENTION):
            for direction, kernels in ((Pass.FORWARD, (forward,) * 2), (Pass.BACKWARD, (backward,) * 2)):
                self.work.count(kernels, direction, len(kernels))
            return super().math_attention(
                query, key, value, num_heads=num_heads, has_dropout=has_dropout, copies_keys=copies_keys
            )

    def eager_scores(
        self, query: Value, key: Value, *, num_heads: int, num_scalings: int, softmax_bytes: int, softcap: bool
    ) -> Value:
        """Count the product of queries and keys; scaling, mask and softmax move the scores."""
        forward, backward = _score_product(query, num_heads, self._half_or(query.num_bytes))
        self._expect(self._casts(query) + self._casts(key), (forward,), (backward,), 2)
        with self.work.inside(Group.ATTENTION):
            return super().eager_scores(
                query,
                key,
                num_heads=num_heads,
                num_scalings=num_scalings,
                softmax_bytes=softmax_bytes,
                softcap=softcap,
            )

    def weighted_sum(self, weights: Value, value: Value, elements: Size) -> Value:
        """Count the product of attention weights and values."""
        num_bytes = self._half_or(value.num_bytes)
        flops = Size(0, 0, 2 * elements.per_token)
        moved = weights.size.plus(value.size).plus(elements.times(num_bytes))
        forward = Kernel(Group.ATTENTION, _unit(num_bytes), flops, flops, moved)
        backward = Kernel(Group.ATTENTION, _unit(num_bytes), flops.times(2), flops.times(2), moved.times(2))
        self._expect(self._casts(value), (forward,), (backward,), 2)
        with self.work.inside(Group.ATTENTION):
            return super().weighted_sum(weights, value, elements)

    def _base_linear(self, value: Value, layer: Linear) -> Value:
        self._copy_count = self._copies.get(id(layer), 1)
        with self.work.inside(self._groups.get(id(layer), Group.MLP)):
            output = super()._base_linear(value, layer)
        self._copy_count = 1
        return output

    _copy_count = 1

    def _matmul(self, value: Value, in_features: int, out_features: int, weight_bytes: int, trainable: bool) -> Value:
        """Count `F.linear`: the product; going back, the input's gradient and that of a trained weight."""
        num_bytes = self.precision.autocast_bytes or value.num_bytes
        product = _Product(self.work.group, value.elements, in_features, out_features, num_bytes, self._copy_count)
        forward = [product.output()]
        if weight_bytes != num_bytes:
            copied = fixed(in_features * out_features * (weight_bytes + num_bytes))
            forward.append(traffic(self.work.group, copied))
        backward = [product.input_gradient()] if value.needs_grad else []
        if trainable:
            backward.append(product.weight_gradient())
        self._expect(self._casts(value), tuple(forward), tuple(backward), len(backward))
        return super()._matmul(value, in_features, out_features, weight_bytes, trainable)

    def _linear_4bit(self, value: Value, layer: Linear) -> Value:
        """Count `bnb.nn.Linear4bit`: the weight is dequantised before the product, both ways."""
        num_bytes = self.precision.compute_bytes
        product = _Product(self.work.group, value.elements, layer.in_features, layer.out_features, num_bytes)
        packed = quantized_bytes(layer.num_weights, layer.out_features, layer.quantization, self.double_quant)
        dequantize = traffic(Group.DEQUANTIZATION, fixed(packed + layer.num_weights * num_bytes))
        num_dequantize_kernels = 3 if self.double_quant else 1
        backward = (dequantize, product.input_gradient()) if value.needs_grad else ()
        skip = int(value.num_bytes != num_bytes)
        self._expect(skip, (dequantize, product.output()), backward, num_dequantize_kernels + 1)
        return super()._linear_4bit(value, layer)

    def _linear_8bit(self, value: Value, layer: Linear) -> Value:
        """Count `bnb.MatMul8bitLt`: rows quantised, an int8 product, its result scaled; half precision going back."""
        product = _Product(self.work.group, value.elements, layer.in_features, layer.out_features, HALF_BYTES)
        rows_out = value.elements.times(layer.out_features)
        out = Size(rows_out.fixed // layer.in_features, rows_out.per_token // layer.in_features)
        quantize = traffic(Group.DEQUANTIZATION, value.elements.times(HALF_BYTES + HALF_BYTES + 1))
        scale = traffic(Group.DEQUANTIZATION, out.times(FLOAT32_BYTES + HALF_BYTES))
        dequantize = traffic(Group.DEQUANTIZATION, fixed(layer.num_weights * (1 + HALF_BYTES)))
        forward = (quantize, product.output(Unit.INT8), scale)
        backward = (dequantize, product.input_gradient()) if value.needs_grad else ()
        self._expect(self._casts(value), forward, backward, len(backward))
        return super()._linear_8bit(value, layer)

    def _dora_delta(self, given: Value, base: Value, layer: Linear, adapter: Adapter) -> Value:
        """Count the norm of the merged weight (`peft/tuners/lora/dora.py`), which is taken in every forward pass.

        The adapter's product with an identity matrix, the weight's widened copy, the product scaled, the sum and its
        norm: 13 passes over a matrix of the adapter's type.
        """
        rank, num_bytes = adapter.rank, adapter.num_bytes
        rows = fixed(layer.in_features * layer.in_features)
        down = _Product(Group.ADAPTERS, rows, layer.in_features, rank, num_bytes)
        up = _Product(Group.ADAPTERS, fixed(layer.in_features * rank), rank, layer.out_features, num_bytes)
        norm = traffic(Group.ADAPTERS, fixed(13 * layer.num_weights * num_bytes))
        self.work.count((down.output(), up.output(), norm), Pass.FORWARD, 9)
        return super()._dora_delta(given, base, layer, adapter)

    def _casts(self, value: Value) -> int:
        """Return how many casts autocast puts before an operation on a value."""
        num_bytes = self.precision.autocast_bytes
        return int(bool(num_bytes) and value.num_bytes != num_bytes)

    def _half_or(self, num_bytes: int) -> int:
        return self.precision.autocast_bytes or num_bytes

    def _expect(
        self, skip: int, forward: tuple[Kernel, ...], backward: tuple[Kernel, ...], num_backward_launches: int
    ) -> None:
        self.work.pending = Pending(skip, forward, backward, num_backward_launches)


class _Product:
    """A matrix product of `elements` inputs in rows of `in_features`, and the two products of its gradients."""

    def __init__(
        self, group: Group, elements: Size, in_features: int, out_features: int, num_bytes: int, copies: int = 1
    ) -> None:
        self.group = group
        self.given = elements
        self.in_features = in_features
        self.out_features = out_features
        self.num_bytes = num_bytes
        self.result = Size(*(part * out_features // in_features for part in elements))
        operands = fixed(in_features * out_features * copies).plus(elements).plus(self.result)
        self.moved = operands.times(num_bytes)
        self.flops = elements.times(2 * out_features)

    def output(self, unit: Unit | None = None) -> Kernel:
        """Return the product itself."""
        return self._rowwise(unit, self.out_features)

    def input_gradient(self) -> Kernel:
        """Return the product of the output's gradient with the weight."""
        return self._rowwise(None, self.in_features)

    def weight_gradient(self) -> Kernel:
        """Return the product of the output's gradient with the input."""
        padded = self._pad(self.in_features) * self._pad(self.out_features)
        flops = self._scaled_flops(padded, self.in_features * self.out_features)
        rows = fixed(self.out_features)
        return Kernel(self.group, _unit(self.num_bytes), self.flops, flops, self.moved, rows, 1, self.in_features)

    def _rowwise(self, unit: Unit | None, columns: int) -> Kernel:
        flops = self._scaled_flops(self._pad(columns), columns)
        unit = unit or _unit(self.num_bytes)
        return Kernel(self.group, unit, self.flops, flops, self.moved, self.given, self.in_features, columns)

    def _scaled_flops(self, numerator: int, denominator: int) -> Size:
        return Size(*(part * numerator // denominator for part in self.flops))

    def _pad(self, features: int) -> int:
        """Round up to the narrowest tile of cuBLAS kernels, below which lanes idle (tile quantisation)."""
        tile = HALF_TILE if self.num_bytes == HALF_BYTES else FLOAT32_TILE
        return -(-features // tile) * tile


def _unit(num_bytes: int) -> Unit:
    return Unit.HALF if num_bytes == HALF_BYTES else Unit.FLOAT32


def _fused_attention(query: Value, key: Value, value: Value) -> tuple[Kernel, Kernel]:
    pairs = Size(0, 0, 2 * query.elements.per_token)
    moved = query.size.times(2).plus(key.size).plus(value.size)
    forward = Kernel(Group.ATTENTION, Unit.FUSED_ATTENTION, pairs.times(2), pairs.times(2), moved)
    back = pairs.times(FLASH_BACKWARD_PRODUCTS)
    return forward, Kernel(Group.ATTENTION, Unit.FUSED_ATTENTION, back, back, moved.times(3))


def _score_product(query: Value, num_heads: int, num_bytes: int) -> tuple[Kernel, Kernel]:
    flops = Size(0, 0, 2 * query.elements.per_token)
    moved = query.size.times(2).plus(per_pair(num_heads * num_bytes))
    unit = _unit(num_bytes)
    forward = Kernel(Group.ATTENTION, unit, flops, flops, moved)
    return forward, Kernel(Group.ATTENTION, unit, flops.times(2), flops.times(2), moved.times(2))
