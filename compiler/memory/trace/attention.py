"""Scaled dot product attention as CUDA computes it: flash, memory-efficient, or plain mathematics.

Meta tensors would always take the plain one, and that with copies that a GPU does not make.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from kaitoc.compiler.memory.workload import Kernels

FLASH_MAX_HEAD_DIM = 256
FLASH_ROUNDING_TOKENS = 128
FLASH_ROUNDING_HEAD_DIM = 32
EFFICIENT_ALIGNMENT = 8
_HALF = (torch.float16, torch.bfloat16)


class FlashAttention(torch.autograd.Function):
    """Flash attention: saves query, key, value, output and one float32 log-sum-exp per head and token.

    Shapes: query (batch, heads, tokens, head size), key and value with their own number of heads. After
    `aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp`: `mha_fwd` lays the output out as the query is;
    `mha_bwd` accumulates the query's gradient in float32 (`dq_accum`, tokens rounded to 128 and heads to 32), sums rows
    (`softmax_d`), and for grouped queries forms both other gradients per query head before adding them up.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return the attended values, shaped and laid out as the query."""
        batch, num_heads, tokens, _ = query.shape
        output = torch.empty_like(query)
        statistics = query.new_empty(batch, num_heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, statistics)
        return output

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the gradients of query, key and value."""
        query, key, value, _, _ = ctx.saved_tensors
        batch, num_heads, tokens, head_dim = query.shape
        results = tuple(torch.empty_like(item) for item in (query, key, value))
        rounded = _round_up(tokens, FLASH_ROUNDING_TOKENS)
        row_sums = query.new_empty(batch, num_heads, rounded, dtype=torch.float32)
        wide = _round_up(head_dim, FLASH_ROUNDING_HEAD_DIM)
        accumulated = query.new_empty(batch, num_heads, rounded, wide, dtype=torch.float32)
        expanded = []
        if key.shape[1] != num_heads:
            expanded = [key.new_empty(batch, key.shape[2], num_heads, head_dim) for _ in (key, value)]
        del row_sums, accumulated, expanded
        return results


class EfficientAttention(torch.autograd.Function):
    """Memory-efficient attention, which masked or float32 inputs take: it saves the same and its mask.

    `attention.cu` writes the output with heads inside tokens. A mask of truth values becomes one of numbers, layer by
    layer (`convert_boolean_attn_mask`, `attention.cpp`). `attention_backward.cu` accumulates the query's gradient in
    float32 (`kNeedsAccumGradQ`, which every GPU since Volta sets).
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the attended values, shaped as the query."""
        batch, num_heads, tokens, _ = query.shape
        if mask is not None and mask.dtype is torch.bool:
            mask = mask.new_empty(mask.shape, dtype=query.dtype)
        output = _token_major(query)
        statistics = query.new_empty(batch, num_heads, tokens, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, output, statistics, mask)
        return output

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of query, key and value."""
        query, key, value, _, statistics, _ = ctx.saved_tensors
        results = tuple(_token_major(item) for item in (query, key, value))
        row_sums = torch.empty_like(statistics)
        accumulated = query.new_empty(query.shape, dtype=torch.float32)
        del row_sums, accumulated
        return *results, None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,  # noqa: ARG001  # callers name it; no size depends on it
    enable_gqa: bool = False,
    *,
    kernels: Kernels = Kernels.AMPERE,
) -> torch.Tensor:
    """Choose the kernel as `sdp_utils.cpp` does: flash, else memory-efficient, else plain mathematics.

    Before Ampere there is no flash kernel, and none for bfloat16.
    """
    head_dim = query.shape[-1]
    same_heads = query.shape[1] == key.shape[1] == value.shape[1]
    is_old = kernels is Kernels.BEFORE_AMPERE
    takes_flash = attn_mask is None and query.dtype in _HALF and head_dim <= FLASH_MAX_HEAD_DIM and not is_old
    takes_efficient = head_dim % EFFICIENT_ALIGNMENT == 0 and not (is_old and query.dtype is torch.bfloat16)
    output: torch.Tensor
    is_narrow = query.dtype is not torch.float64
    if takes_flash and (same_heads or enable_gqa):
        output = FlashAttention.apply(query, key, value)
    elif same_heads and takes_efficient and is_narrow:
        output = EfficientAttention.apply(query, key, value, attn_mask)
    else:
        output = _attend_plainly(query, key, value, attn_mask, dropout_p, is_causal)
    return output


def _attend_plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
) -> torch.Tensor:
    """`_scaled_dot_product_attention_math` (`attention.cpp`): in float32 or wider, the mask added in place."""
    dtype, num_heads = query.dtype, query.shape[1]
    query, key, value = (item.float() if dtype in _HALF else item for item in (query, key, value))
    scaling = math.sqrt(1.0 / math.sqrt(query.shape[-1]))
    query = query * scaling
    if is_causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is not None and mask.dtype is torch.bool:
        mask = mask.new_empty(mask.shape, dtype=query.dtype)
    groups = num_heads // key.shape[1]
    if groups > 1 and key.shape[1] > 1:
        key, value = (item.repeat_interleave(groups, dim=1) for item in (key, value))
    scores = torch.matmul(query, (key * scaling).transpose(-2, -1))
    if mask is not None:
        scores.add_(mask)
    weights = torch.ops.aten._safe_softmax(scores, -1)
    if dropout_p > 0.0:
        weights = torch.native_dropout(weights, dropout_p, True)[0]
    return torch.matmul(weights, value).to(dtype)


def _token_major(like: torch.Tensor) -> torch.Tensor:
    batch, num_heads, tokens, head_dim = like.shape
    return like.new_empty(batch, tokens, num_heads, head_dim).transpose(1, 2)


def _round_up(size: int, step: int) -> int:
    return -(-size // step) * step
