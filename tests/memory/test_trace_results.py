"""The quick rules for results say what PyTorch's own meta kernels say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from kaitoc.compiler.memory.trace.results import _BINARY, _UNARY, quick_result  # noqa: E402

pytestmark = pytest.mark.runtime
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])
NEEDS_FACTOR = {torch.ops.aten.pow.Tensor_Scalar, torch.ops.aten.mul.Scalar, torch.ops.aten.div.Scalar}


@st.composite
def tensors(draw: Any, shape: tuple[int, ...]) -> Any:
    """A meta tensor of a shape, its dimensions in any order in memory, perhaps a slice of a larger one."""
    order = draw(st.permutations(range(len(shape))))
    wide = draw(st.booleans())
    stored = [shape[place] for place in order]
    tensor = torch.empty([*stored[:-1], stored[-1] * (2 if wide else 1)], dtype=draw(DTYPES), device="meta")
    return tensor[..., : stored[-1]].permute([order.index(place) for place in range(len(shape))])


@st.composite
def pairs(draw: Any) -> Any:
    """Two meta tensors that broadcast to each other."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    smaller = tuple(size if draw(st.booleans()) else 1 for size in shape)[draw(st.integers(0, len(shape) - 1)) :]
    both = [draw(tensors(shape)), draw(tensors(smaller))]
    return both if draw(st.booleans()) else both[::-1]


def assert_alike(found: Any, expected: Any) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    real = [index for index, size in enumerate(found.shape) if size > 1]
    assert [found.stride(index) for index in real] == [expected.stride(index) for index in real]


@settings(max_examples=300, deadline=None)
@given(pairs(), st.sampled_from([torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor]))
def test_two_operands(operands: Any, operator: Any) -> None:
    left, right = operands
    found = quick_result(operator, (left, right))
    if found is not None:
        assert_alike(found, operator(left, right))


@pytest.mark.parametrize("operator", sorted(_BINARY, key=str), ids=str)
def test_every_operator_of_two_operands_of_one_shape(operator: Any) -> None:
    left, right = (torch.empty(2, 3, 4, dtype=torch.bfloat16, device="meta").transpose(0, 1) for _ in range(2))
    found = quick_result(operator, (left, right))
    assert_alike(found, operator(left, right))


@pytest.mark.parametrize("operator", sorted(_UNARY, key=str), ids=str)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(lambda shape: tensors(tuple(shape))))
def test_every_operator_of_one_operand(operator: Any, operand: Any) -> None:
    args = (operand, 2.0) if operator in NEEDS_FACTOR else (operand,)
    assert_alike(quick_result(operator, args), operator(*args))


def test_a_number_widens_no_half_tensor() -> None:
    half = torch.empty(3, dtype=torch.float16, device="meta")
    found = quick_result(torch.ops.aten.mul.Tensor, (half, 2.0))
    assert found is not None
    assert found.dtype is torch.float16


@pytest.mark.parametrize(
    "operand",
    [torch.ones(3), torch.ones(3, dtype=torch.int64, device="meta"), torch.ones(1, device="meta").expand(3)],
    ids=["real", "integer", "expanded"],
)
def test_what_the_rules_do_not_cover_is_left_to_pytorch(operand: Any) -> None:
    assert quick_result(torch.ops.aten.neg.default, (operand,)) is None


def test_other_operators_are_left_to_pytorch() -> None:
    assert quick_result(torch.ops.aten.bmm.default, (torch.ones(2, 2, 2, device="meta"),) * 2) is None


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 3), DTYPES, st.booleans())
def test_matrix_products(sizes: tuple[int, int, int], dtype: Any, is_transposed: bool) -> None:
    left = torch.empty(sizes[:2], dtype=dtype, device="meta")
    right = torch.empty(sizes[1:], dtype=dtype, device="meta")
    if is_transposed:
        right = torch.empty(sizes[:0:-1], dtype=dtype, device="meta").T
    found = quick_result(torch.ops.aten.mm.default, (left, right))
    assert_alike(found, torch.ops.aten.mm.default(left, right))


@pytest.mark.parametrize(("sizes", "expected"), [(((6, 4), (3, 4, 5)), (6, 5)), (((4, 6), (6, 5)), (3, 4, 5))])
def test_products_per_expert_are_shaped_in_float32_as_in_bfloat16(sizes: Any, expected: tuple[int, ...]) -> None:
    ends = torch.empty(3, dtype=torch.int32, device="meta")
    args = [torch.empty(size, dtype=torch.float32, device="meta") for size in sizes]
    found = quick_result(torch.ops.aten._grouped_mm.default, (*args, ends))
    assert found is not None
    assert tuple(found.shape) == expected
