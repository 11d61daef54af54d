"""Results of frequent operators on meta tensors in a tenth of the time that PyTorch's meta kernels in Python take.

The rules for elementwise operators are those of `TensorIterator` (`aten/src/ATen/TensorIterator.cpp`, 2.13): the result
has the type that `torch.result_type` tells and the order of dimensions of the first operand that covers it. What the
rules here do not cover is left to PyTorch; tests/memory/test_trace_results.py holds the two to each other.
"""

from __future__ import annotations

from typing import Any

import torch

_aten = torch.ops.aten
_META = torch.device("meta")
_UNARY = frozenset(
    [
        _aten.neg.default,
        _aten.pow.Tensor_Scalar,
        _aten.rsqrt.default,
        _aten.silu.default,
        _aten.gelu.default,
        _aten.tanh.default,
        _aten.sigmoid.default,
        _aten.exp.default,
        _aten.cos.default,
        _aten.sin.default,
        _aten.mul.Scalar,
        _aten.div.Scalar,
    ]
)
_BINARY = frozenset(
    [
        _aten.add.Tensor,
        _aten.sub.Tensor,
        _aten.mul.Tensor,
        _aten.div.Tensor,
        _aten.silu_backward.default,
        _aten.gelu_backward.default,
        _aten.tanh_backward.default,
        _aten.sigmoid_backward.default,
    ]
)
_FLOATS = frozenset([torch.float32, torch.float16, torch.bfloat16])


def quick_result(operator: Any, args: tuple[Any, ...]) -> torch.Tensor | None:
    """Return an operator's result on meta tensors of floating-point type, None where PyTorch must tell it."""
    if operator is _aten.mm.default:
        return _product(args[0], args[1])
    if operator is _aten._grouped_mm.default:
        return _grouped_product(*args[:3])
    if operator in _UNARY:
        return _like(args[0], args[0].dtype) if _is_plain(args[0]) else None
    if operator in _BINARY:
        return _binary(args[0], args[1])
    return None


def _product(left: Any, right: Any) -> torch.Tensor | None:
    is_valid = _is_plain(left) and _is_plain(right) and left.dtype is right.dtype and left.shape[1] == right.shape[0]
    return torch.empty(left.shape[0], right.shape[1], dtype=left.dtype, device=_META) if is_valid else None


def _grouped_product(left: Any, right: Any, ends: Any = None) -> torch.Tensor | None:
    """Return the result of a product per expert in float32, which CUDA computes and meta tensors refuse."""
    if left.dtype is not torch.float32 or left.dim() != 2:
        return None
    shape = (left.shape[0], right.shape[2]) if right.dim() == 3 else (len(ends), left.shape[0], right.shape[1])
    return torch.empty(shape, dtype=torch.float32, device=_META)


def _binary(left: Any, right: Any) -> torch.Tensor | None:
    if not _is_plain(left):
        return None
    if isinstance(right, (int, float)):
        return _like(left, left.dtype)
    if not _is_plain(right):
        return None
    dtype = left.dtype if left.dtype is right.dtype else torch.result_type(left, right)
    if _covers(left.shape, right.shape):
        return _like(left, dtype)
    is_plain_order = left.is_contiguous() and right.is_contiguous()
    return _like(right, dtype) if is_plain_order and _covers(right.shape, left.shape) else None


def _is_plain(tensor: Any) -> bool:
    """Whether a tensor is on meta, of a floating-point type, and no expanded view, whose order others decide."""
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.is_meta
        and tensor.dtype in _FLOATS
        and tensor.dim() > 0
        and 0 not in tensor.stride()
    )


def _covers(shape: torch.Size, other: torch.Size) -> bool:
    """Whether `other` broadcasts to `shape`."""
    if shape == other:
        return True
    lead = len(shape) - len(other)
    return lead >= 0 and all(there in (1, here) for here, there in zip(shape[lead:], other, strict=True))


def _like(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.is_contiguous():
        return torch.empty(tensor.shape, dtype=dtype, device=_META)
    return torch.empty_like(tensor, dtype=dtype, requires_grad=False)
