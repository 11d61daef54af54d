"""CUDA's automatic mixed precision for meta tensors, which `torch.autocast` leaves alone.

The lists are those of PyTorch's `aten/src/ATen/autocast_mode.h` (2.13), by the functions that models call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_MATRIX_PRODUCTS = [
    "linear",
    "bilinear",
    "matmul",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "einsum",
    "__matmul__",
    "__rmatmul__",
]
_LOWER_PRECISION = [*_MATRIX_PRODUCTS, "conv1d", "conv2d", "scaled_dot_product_attention"]
_LOSSES = ["cross_entropy", "nll_loss", "mse_loss", "kl_div"]
_POWERS = ["pow", "__pow__", "__rpow__", "rsqrt", "reciprocal", "exp", "log", "softplus"]
_FLOAT32 = [*_LOSSES, *_POWERS, "layer_norm", "group_norm", "normalize", "norm"]
_FLOAT32_RESULT = ["softmax", "log_softmax", "sum", "cumsum", "prod"]
"""Functions that autocast asks for a float32 result unless the caller names a type (`fp32_set_opt_dtype`)."""


def _functions(names: list[str]) -> frozenset[Any]:
    homes = (functional, torch, Tensor)
    return frozenset(getattr(home, name) for home in homes for name in names if hasattr(home, name))


LOWER_PRECISION = _functions(_LOWER_PRECISION)
FLOAT32 = _functions(_FLOAT32)
FLOAT32_RESULT = _functions(_FLOAT32_RESULT)
_HALF = (torch.float16, torch.bfloat16)
_is_enabled: ContextVar[bool] = ContextVar("is_enabled", default=True)


class Autocast:
    """One autocast region with its cache of narrowed float32 parameters (`cached_cast`)."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as autocast hands them on to a function."""
        if not _is_enabled.get():
            return args, kwargs
        if func in LOWER_PRECISION:
            return self._converted(args, kwargs, self._narrow)
        if func in FLOAT32:
            return self._converted(args, kwargs, _widen)
        takes_half = bool(args) and isinstance(args[0], Tensor) and args[0].dtype in _HALF
        if func in FLOAT32_RESULT and takes_half and kwargs.get("dtype") is None:
            return args, {**kwargs, "dtype": torch.float32}
        return args, kwargs

    def forget(self) -> None:
        """Drop the cache, as leaving the outermost region does."""
        self._cache.clear()

    def _converted(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], convert: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(convert(item) for item in args), {name: convert(item) for name, item in kwargs.items()}

    def _narrow(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(self._narrow(item) for item in value)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype is self.dtype:
            return value
        is_parameter = value.is_leaf and value.requires_grad and not value._is_view()
        if not (is_parameter and value.dtype is torch.float32):
            return value.to(self.dtype)
        if id(value) not in self._cache:
            self._cache[id(value)] = (value, value.to(self.dtype))
        return self._cache[id(value)][1]


def _widen(value: Any) -> Any:
    is_half = isinstance(value, Tensor) and value.dtype in _HALF
    return value.float() if is_half else value


@contextmanager
def regions_on_meta(*, is_enabled: bool) -> Iterator[None]:
    """Let libraries open autocast regions on meta tensors, which `torch.autocast` refuses, and ask whether one is open.

    PEFT does the former to fold adapters into experts without a change of type (`lora/layer.py`, `_LoraFactorsProxy`)
    and the latter before it converts the input of an adapter over quantised weights (`lora/bnb.py`).
    """
    real, real_question = torch.autocast, torch.is_autocast_enabled

    def question(device_type: str | None = None) -> bool:
        return is_enabled and _is_enabled.get() if device_type is None else real_question(device_type)

    def region(device_type: str, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        if device_type != "meta":
            return real(device_type, *args, **kwargs)
        return _region(enabled=bool(kwargs.get("enabled", True)))

    torch.autocast = region  # type: ignore[assignment, misc]  # restored below
    torch.is_autocast_enabled = question
    try:
        yield
    finally:
        torch.autocast = real  # type: ignore[misc]  # as above
        torch.is_autocast_enabled = real_question


@contextmanager
def _region(*, enabled: bool) -> Iterator[None]:
    before = _is_enabled.set(enabled)
    try:
        yield
    finally:
        _is_enabled.reset(before)
