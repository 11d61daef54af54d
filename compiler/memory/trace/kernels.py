"""What CUDA kernels do where meta tensors take another path: attention, softmax, dropout, their scratch memory.

`CudaFunctions` stands between the model's code and PyTorch; each rule names the kernel that it follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kaitoc.compiler.memory.trace.attention import FlashAttention, attend
from kaitoc.compiler.memory.trace.autocast import Autocast
from kaitoc.compiler.memory.trace.quantized import quantized_scratch_bytes
from kaitoc.compiler.memory.workload import Kernels
from kaitoc.compiler.memory.workload_key import SORTED_EMBEDDING_TOKENS

_HALF = (torch.float16, torch.bfloat16)
_SOFTMAX = frozenset([functional.softmax, torch.softmax, torch.Tensor.softmax])


def flash_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the flash-attention package does, grouped queries included; registered with `AttentionInterface`.

    transformers narrows float32 inputs for it (`get_target_dtype`, `integrations/flash_attention.py`); which half type
    they get makes no difference here.
    """
    if query.dtype is torch.float32:
        query, key, value = (item.to(torch.bfloat16) for item in (query, key, value))
    output = FlashAttention.apply(query, key, value)
    return output.transpose(1, 2), None


class CudaFunctions(TorchFunctionMode):
    """Calls what a CUDA device would run instead of what meta tensors take, under autocast when there is one.

    Models ask whether a batch is without padding (`mask.all()`), which meta tensors cannot tell; `is_padded` does.
    """

    def __init__(
        self, autocast: Autocast | None = None, *, is_padded: bool = False, kernels: Kernels = Kernels.AMPERE
    ) -> None:
        super().__init__()
        self._autocast = autocast
        self._is_padded = is_padded
        self._kernels = kernels

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of PyTorch's Python interface."""
        kwargs = kwargs or {}
        if self._autocast is not None:
            args, kwargs = self._autocast.call(func, args, kwargs)
        if func is torch.Tensor.__bool__ and args[0].is_meta:
            return not self._is_padded
        if func is functional.scaled_dot_product_attention:
            return attend(*args, **kwargs, kernels=self._kernels)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if func in _SOFTMAX and kwargs.get("dtype") is torch.float32 and args[0].dtype in _HALF:
            return torch._softmax(args[0], _dimension(args, kwargs), half_to_float=True)
        return func(*args, **kwargs)


def scratch_bytes(operator: Any, args: tuple[Any, ...], result: Any) -> int:
    """Return the bytes of scratch memory that a CUDA kernel takes besides its result.

    `softmax_backward_cuda_out` (`SoftMax.cu`) forms `grad * output` in full; `_safe_softmax` (`attention.cpp`) keeps
    the plain result and a mask of the rows without any score beside its own result; an embedding's gradient is summed
    up in float32 by word and by ten tokens (`EmbeddingBackwardKernel.cu`). What bitsandbytes' kernels take is told by
    `quantized_scratch_bytes`.
    """
    if operator is torch.ops.aten.embedding_dense_backward.default:
        return _embedding_scratch_bytes(args[1].numel(), result)
    if operator is torch.ops.aten._safe_softmax.default:
        return int(result.numel() * (result.element_size() + 1))
    if operator is torch.ops.aten._softmax_backward_data.default:
        return int(args[1].numel() * args[1].element_size())
    return quantized_scratch_bytes(operator, args, result)


def _embedding_scratch_bytes(num_tokens: int, gradient: torch.Tensor) -> int:
    if num_tokens < SORTED_EMBEDDING_TOKENS:
        return 0
    num_words, hidden_size = gradient.shape
    return (min(num_tokens, num_words) + num_tokens // 10) * hidden_size * torch.float32.itemsize


def _dimension(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return int(args[1] if len(args) > 1 else kwargs["dim"])


def _dropout(
    tensor: torch.Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,  # noqa: ARG001  # callers name it; the kernel has an output of its own all the same
) -> torch.Tensor:
    """`native_dropout` (`Dropout.cu`): an output and a mask of one byte per element; nothing when it is off."""
    if not training or p == 0.0:
        return tensor
    dropped: torch.Tensor = torch.native_dropout(tensor, p, True)[0]
    return dropped
