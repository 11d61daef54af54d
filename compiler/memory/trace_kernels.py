"""What CUDA kernels do where meta tensors take another path: fused attention, softmax, dropout, their scratch memory.

`CudaFunctions` stands between the model's code and PyTorch; each rule names the kernel that it follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from kaitoc.compiler.memory.trace_autocast import Autocast

FLASH_MAX_HEAD_DIM = 256
FLASH_ROUNDING_TOKENS = 128
EFFICIENT_ALIGNMENT = 8
_HALF = (torch.float16, torch.bfloat16)
_SOFTMAX = frozenset([functional.softmax, torch.softmax, torch.Tensor.softmax])


class FusedAttention(torch.autograd.Function):
    """Flash attention: saves query, key, value, output and one float32 log-sum-exp per head and token.

    Shapes: query (batch, heads, tokens, head size), key and value with their own number of heads. After
    `aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp`: `mha_fwd` writes the output with heads inside
    tokens; `mha_bwd` accumulates the query's gradient in float32 (`dq_accum`), sums rows (`softmax_d`), both with
    tokens rounded to 128, and for grouped queries forms key and value gradients per query head before adding them up.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return the attended values, shaped as the query."""
        batch, num_heads, tokens, _ = query.shape
        output = query.new_empty(batch, tokens, num_heads, value.shape[-1]).transpose(1, 2)
        statistics = query.new_empty(batch, num_heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, statistics)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the gradients of query, key and value."""
        query, key, value, _, _ = ctx.saved_tensors
        batch, num_heads, tokens, head_dim = query.shape
        rounded = -(-tokens // FLASH_ROUNDING_TOKENS) * FLASH_ROUNDING_TOKENS
        row_sums = query.new_empty(batch, num_heads, rounded, dtype=torch.float32)
        accumulated = query.new_empty(batch, num_heads, rounded, head_dim, dtype=torch.float32)
        query_grad = _token_major(query)
        key_grad, value_grad = _token_major(key), _token_major(value)
        if key.shape[1] != num_heads:
            key_grad, value_grad = _summed_over_groups(key, num_heads), _summed_over_groups(value, num_heads)
        del row_sums, accumulated
        return query_grad, key_grad, value_grad


class EfficientAttention(FusedAttention):
    """Memory-efficient attention, which masked or float32 inputs take.

    `attention_backward.cu` keeps a float32 accumulator for the query's gradient only for float32 output or when keys
    are split; it saves the same tensors, its log-sum-exp padded to 32 tokens.
    """


def _token_major(like: torch.Tensor) -> torch.Tensor:
    batch, num_heads, tokens, head_dim = like.shape
    return like.new_empty(batch, tokens, num_heads, head_dim).transpose(1, 2)


def _summed_over_groups(like: torch.Tensor, num_heads: int) -> torch.Tensor:
    batch, num_groups, tokens, head_dim = like.shape
    expanded = like.new_empty(batch, tokens, num_groups, num_heads // num_groups, head_dim)
    return expanded.sum(dim=3).transpose(1, 2)


def flash_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as the flash-attention package does, grouped queries included; registered with `AttentionInterface`."""
    output = FusedAttention.apply(query, key, value)
    return output.transpose(1, 2), None


class CudaFunctions(TorchFunctionMode):
    """Calls what a CUDA device would run instead of what meta tensors take, under autocast when there is one.

    Models ask whether a batch is without padding (`mask.all()`), which meta tensors cannot tell: it is.
    """

    def __init__(self, autocast: Autocast | None = None) -> None:
        super().__init__()
        self._autocast = autocast

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one function of PyTorch's Python interface."""
        kwargs = kwargs or {}
        if self._autocast is not None:
            args, kwargs = self._autocast.call(func, args, kwargs)
        if func is torch.Tensor.__bool__ and args[0].is_meta:
            return True
        if func is functional.scaled_dot_product_attention:
            return _attend(*args, **kwargs)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        if func in _SOFTMAX and kwargs.get("dtype") is torch.float32 and args[0].dtype in _HALF:
            return torch._softmax(args[0], _dimension(args, kwargs), half_to_float=True)
        return func(*args, **kwargs)


def scratch_bytes(operator: Any, args: tuple[Any, ...], result: Any) -> int:
    """Return what a CUDA kernel takes besides its result.

    `softmax_backward_cuda_out` (`SoftMax.cu`) forms `grad * output` in full.
    """
    if operator is torch.ops.aten._softmax_backward_data.default:
        size: int = args[1].numel() * args[1].element_size()
        return size
    return 0


def _dimension(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return int(args[1] if len(args) > 1 else kwargs["dim"])


def _dropout(given: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """`native_dropout` (`Dropout.cu`): an output and a mask of one byte per element; nothing when it is off."""
    if not training or p == 0.0:
        return given
    dropped: torch.Tensor = torch.native_dropout(given, p, True)[0]
    return dropped


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Choose the kernel as `sdp_utils.cpp` does: flash, else memory-efficient, else plain mathematics."""
    head_dim = query.shape[-1]
    same_heads = query.shape[1] == key.shape[1] == value.shape[1]
    takes_flash = attn_mask is None and query.dtype in _HALF and head_dim <= FLASH_MAX_HEAD_DIM
    if takes_flash and (same_heads or enable_gqa):
        output: torch.Tensor = FusedAttention.apply(query, key, value)
        return output
    if same_heads and head_dim % EFFICIENT_ALIGNMENT == 0:
        output = EfficientAttention.apply(query, key, value)
        return output
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal,
                                              scale=scale, enable_gqa=enable_gqa)  # fmt: skip
