"""Fused cross-entropies of other libraries on meta tensors: what their Python allocates around Triton kernels.

The kernels themselves allocate nothing; Liger's writes the gradient over the logits.
"""

from __future__ import annotations

from typing import Any

import torch

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.memory.trace.model import torch_dtype
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.memory.workload_key import liger_chunk_tokens


def liger_loss(hidden: torch.Tensor, head: Any, workload: Workload) -> torch.Tensor:
    """Score hidden states as a model does that Liger Kernel patched (`lce_forward`)."""
    if not _has(workload, LibraryChange.LIGER_WHOLE_HIDDEN):
        hidden = hidden[:, :-1].contiguous()
    flat = hidden.view(-1, hidden.shape[-1])
    loss: torch.Tensor = _LigerLoss.apply(flat, head.weight, workload)
    return loss


def cut_loss(hidden: torch.Tensor, head: Any, labels: torch.Tensor) -> torch.Tensor:
    """Score hidden states with Apple's cut cross-entropy, which shifts the labels."""
    valid = torch.empty(labels[:, 1:].numel(), dtype=torch.int64, device=hidden.device)
    loss: torch.Tensor = _CutLoss.apply(hidden.contiguous().flatten(0, -2), head.weight, valid)
    return loss


class _LigerLoss(torch.autograd.Function):
    """`LigerFusedLinearCrossEntropyFunction` of the workload's version: both gradients come of the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, workload: Workload) -> torch.Tensor:
        """Return the loss."""
        chunk_tokens = liger_chunk_tokens(workload.architecture, len(hidden))
        has_gradient = weight.requires_grad or not _has(workload, LibraryChange.LIGER_FROZEN_HEAD)
        gradients = torch.zeros_like(hidden), torch.zeros_like(weight) if has_gradient else None
        losses = torch.zeros(len(hidden), dtype=torch.float32, device=hidden.device)
        score = _score if _has(workload, LibraryChange.LIGER_HALF_LOGITS) else _score_widened
        score(hidden, weight, gradients, chunk_tokens, workload)
        ctx.save_for_backward(*(gradient.detach() for gradient in gradients if gradient is not None))
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Hand on the gradients, which are scaled in place."""
        of_hidden, *of_weight = ctx.saved_tensors
        return of_hidden, of_weight[0] if of_weight and ctx.needs_input_grad[1] else None, None


_Gradients = tuple[torch.Tensor, torch.Tensor | None]


def _score(
    hidden: torch.Tensor, weight: torch.Tensor, gradients: _Gradients, chunk_tokens: int, workload: Workload
) -> None:
    """Go over the chunks as versions since 0.5 do."""
    of_hidden, of_weight = gradients
    shares_buffer = _has(workload, LibraryChange.LIGER_ONE_BUFFER)
    uses_buffer = shares_buffer and hidden.dtype == weight.dtype == _product_dtype(hidden, workload)
    buffer = hidden.new_empty(chunk_tokens, len(weight)) if uses_buffer else None
    gradient: torch.Tensor | None = None
    for start in range(0, len(hidden), chunk_tokens):
        part = hidden[start : start + chunk_tokens]
        logits = part @ weight.t() if buffer is None else torch.mm(part, weight.t(), out=buffer[: len(part)])
        gradient = logits
        if buffer is None:
            of_hidden[start : start + chunk_tokens] = gradient @ weight
        else:
            torch.mm(gradient, weight, out=of_hidden[start : start + chunk_tokens])
        if of_weight is not None:
            _add_up(of_weight, gradient, part, workload)
        if shares_buffer:
            del gradient, logits


def _product_dtype(hidden: torch.Tensor, workload: Workload) -> torch.dtype:
    """Return the type of logits; `torch.autocast` knows nothing of a region on meta tensors."""
    return torch_dtype(workload.autocast) if workload.autocast is not None else hidden.dtype


def _add_up(of_weight: torch.Tensor, gradient: torch.Tensor, part: torch.Tensor, workload: Workload) -> None:
    is_half = gradient.dtype != torch.float32
    if _has(workload, LibraryChange.LIGER_WIDENED_GRADIENT):
        in_place = is_half and of_weight.dtype == torch.float32 and _has(workload, LibraryChange.LIGER_FLOAT32_SUM)
    else:
        in_place = is_half or not _has(workload, LibraryChange.LIGER_ONE_BUFFER)
    if not in_place:
        of_weight += torch.mm(gradient.t(), part).float()
    elif part.dtype != gradient.dtype:
        aligns_hidden = _has(workload, LibraryChange.LIGER_ALIGNED_HIDDEN)
        part.to(gradient.dtype) if aligns_hidden else gradient.t().to(part.dtype)


def _score_widened(
    hidden: torch.Tensor, weight: torch.Tensor, gradients: _Gradients, chunk_tokens: int, workload: Workload
) -> None:
    """Go over the chunks as versions up to 0.4 do, which take the loss in float32."""
    of_hidden, _ = gradients
    dtype = _product_dtype(hidden, workload)
    for start in range(0, len(hidden), chunk_tokens):
        logits = hidden[start : start + chunk_tokens] @ weight.t()
        logits = logits.float()
        logits = logits.to(dtype)
        gradient = logits * 1.0
        of_hidden[start : start + chunk_tokens] = gradient @ weight


class _CutLoss(torch.autograd.Function):
    """`LinearCrossEntropyFunction` of `cut_cross_entropy/cce.py`."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        sums = hidden.new_empty(len(valid), dtype=torch.float32)
        means = hidden.new_empty(len(weight), dtype=torch.float32)
        losses = torch.empty_like(sums)
        ctx.save_for_backward(hidden, weight, sums, valid, means)
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the hidden states and of the head."""
        hidden, weight, _, valid, means = ctx.saved_tensors
        order = torch.argsort(means).to(torch.int32)
        locks = torch.empty_like(valid, dtype=torch.int32), torch.empty_like(order)
        of_hidden = torch.zeros_like(hidden)
        of_weight = torch.zeros_like(weight, dtype=hidden.dtype) if ctx.needs_input_grad[1] else None
        del locks, order
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None


def _has(workload: Workload, change: LibraryChange) -> bool:
    return changes()[change].includes(workload.liger_version)
