"""Matrix products and attention kernels: their arithmetic and traffic, forward and back."""

from __future__ import annotations

from kaitoc.compiler.memory.closed_form.kernel import Group, Kernel, Launch, Unit, launch
from kaitoc.compiler.memory.closed_form.size import HALF_BYTES, Size, fixed, per_pair
from kaitoc.compiler.memory.closed_form.tensor import Tensor

HALF_TILE = 64
FLOAT32_TILE = 32
FLASH_BACKWARD_PRODUCTS = 5


class MatrixProduct:
    """A matrix product of `elements` inputs in rows of `in_features`, and the two products of its gradients.

    `copies` are the weights that the rows are spread over, each of which is read.
    """

    def __init__(
        self, group: Group, elements: Size, in_features: int, out_features: int, num_bytes: int, copies: int = 1
    ) -> None:
        self.group = group
        self.given = elements
        self.in_features = in_features
        self.out_features = out_features
        self.num_bytes = num_bytes
        operands = fixed(in_features * out_features * copies) + elements + elements.scaled(out_features, in_features)
        self.moved = operands * num_bytes
        self.flops = elements * (2 * out_features)

    def output(self, unit: Unit | None = None) -> Kernel:
        """Build the kernel of the output, `tokens x out_features`."""
        return self._rowwise(unit, self.out_features)

    def input_gradient(self) -> Kernel:
        """Return the product of the output's gradient with the weight."""
        return self._rowwise(None, self.in_features)

    def weight_gradient(self) -> Kernel:
        """Return the product of the output's gradient with the input."""
        padded = self._pad(self.in_features) * self._pad(self.out_features)
        flops = self.flops.scaled(padded, self.in_features * self.out_features)
        rows = fixed(self.out_features)
        return Kernel(self.group, unit_of(self.num_bytes), self.flops, flops, self.moved, rows, 1, self.in_features)

    def _rowwise(self, unit: Unit | None, columns: int) -> Kernel:
        flops = self.flops.scaled(self._pad(columns), columns)
        unit = unit or unit_of(self.num_bytes)
        return Kernel(self.group, unit, self.flops, flops, self.moved, self.given, self.in_features, columns)

    def _pad(self, features: int) -> int:
        """Round up to the narrowest tile of cuBLAS kernels, below which lanes idle (tile quantization)."""
        tile = HALF_TILE if self.num_bytes == HALF_BYTES else FLOAT32_TILE
        return -(-features // tile) * tile


def unit_of(num_bytes: int) -> Unit:
    """Return the unit that multiplies elements of a size."""
    return Unit.HALF if num_bytes == HALF_BYTES else Unit.FLOAT32


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Launch, Launch]:
    """Return one fused kernel each way: two products forward, five going back (FlashAttention, arXiv 2205.14135).

    The products are counted over all pairs of tokens; whether the kernel skips the masked half is known later.
    """
    pairs = Size(0, 0, 2 * query.elements.per_token)
    moved = query.size * 2 + key.size + value.size
    forward = Kernel(Group.ATTENTION, Unit.FUSED_ATTENTION, pairs * 2, pairs * 2, moved)
    back = pairs * FLASH_BACKWARD_PRODUCTS
    backward = Kernel(Group.ATTENTION, Unit.FUSED_ATTENTION, back, back, moved * 3)
    return launch(forward), launch(backward, num_launches=2)


def score_product(query: Tensor, num_heads: int, num_bytes: int) -> tuple[Launch, Launch]:
    """Return the product of queries and keys of all heads, and the two products of its gradients as one kernel."""
    flops = Size(0, 0, 2 * query.elements.per_token)
    return _both_ways(num_bytes, flops, query.size * 2 + per_pair(num_heads * num_bytes))


def value_product(weights: Tensor, value: Tensor, elements: Size, num_bytes: int) -> tuple[Launch, Launch]:
    """Return the product of attention weights and values, and the two products of its gradients as one kernel."""
    flops = Size(0, 0, 2 * elements.per_token)
    return _both_ways(num_bytes, flops, weights.size + value.size + elements * num_bytes)


def grouped_product(given: Tensor, weight: Tensor, elements: Size, out_features: int) -> tuple[Launch, Launch]:
    """Return the product of rows sorted by expert with the weights of all experts, and its two gradients.

    A row meets the weight of one expert.
    """
    flops = given.elements * (2 * out_features)
    moved = given.size + weight.size + elements * given.num_bytes
    product = Kernel(Group.MLP, unit_of(given.num_bytes), flops, flops, moved)
    return launch(product), launch(product, product)


def _both_ways(num_bytes: int, flops: Size, moved: Size) -> tuple[Launch, Launch]:
    unit = unit_of(num_bytes)
    forward = Kernel(Group.ATTENTION, unit, flops, flops, moved)
    backward = Kernel(Group.ATTENTION, unit, flops * 2, flops * 2, moved * 2)
    return launch(forward), launch(backward, num_launches=2)
