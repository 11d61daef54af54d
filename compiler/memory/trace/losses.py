"""The loss of a causal language model in the implementations that training scripts use."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.memory.closed_form.head import TILE_WORDS
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.trace.fused_losses import cut_loss, liger_loss
from kaitoc.compiler.memory.trace.model import checkpoint_contexts, torch_dtype
from kaitoc.compiler.memory.trace.recorder import AllocationRecorder
from kaitoc.compiler.memory.trace.sharding import run_as_forward
from kaitoc.compiler.memory.workload import Loss, Workload
from kaitoc.compiler.memory.workload_key import CHUNK_TOKENS, TILE_TOKENS

IGNORED_LABEL = -100


class Batch(NamedTuple):
    """What a step gets; all of the shape (batch, tokens)."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor


def outputs_of(model: Any, batch: Batch, workload: Workload) -> Any:
    """Return all that the model returns for a batch; checkpointing turns its key-value cache off."""
    return model(**batch._asdict(), use_cache=not workload.gradient_checkpointing)


def loss_of(recorder: AllocationRecorder, model: Any, batch: Batch, workload: Workload) -> torch.Tensor:
    """Compute a batch's loss by the workload's implementation."""
    if workload.loss is Loss.FULL:
        loss: torch.Tensor = model(**batch._asdict(), use_cache=False).loss
        return loss
    return run_as_forward(model, lambda: _loss_without_logits(recorder, model, batch, workload))


def _loss_without_logits(recorder: AllocationRecorder, model: Any, batch: Batch, workload: Workload) -> torch.Tensor:
    backbone = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    hidden, head = backbone(**inputs, use_cache=False).last_hidden_state, model.get_output_embeddings()
    recorder.phase = Phase.LOSS
    if workload.loss is Loss.LIGER:
        return liger_loss(hidden, head, workload)
    if workload.loss is Loss.CCE:
        return cut_loss(hidden, head, batch.labels)
    scored, labels = hidden[:, :-1], batch.labels[:, 1:]
    if workload.loss is Loss.FUSED:
        return _fused_loss(scored, head, labels, workload)
    return _chunked_loss(scored, head, labels, workload, getattr(model.config, "final_logit_softcapping", None))


def _chunked_loss(
    hidden: torch.Tensor, head: Any, labels: torch.Tensor, workload: Workload, softcap: Any
) -> torch.Tensor:
    """Score the hidden states chunk by chunk, as TRL 1.7 to 1.14 does (`_chunked_cross_entropy_loss`).

    The tokens are put in order, two copies; each chunk widens the output layer to float32 (the logits alone from 1.13
    on), tells the entropy besides the loss, and is recomputed in the backward pass.
    """
    widens_head = find_stack(workload.stack).widens_chunked_head
    order = torch.empty(hidden[..., 0].numel(), dtype=torch.int64, device=hidden.device)
    hidden, labels = hidden.reshape(-1, hidden.shape[-1])[order], labels.reshape(-1)[order]

    def score(part: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if widens_head:
            logits = part.float() @ head.weight.float().t()
        else:
            logits = (part @ head.weight.to(part.dtype).t()).float()
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        log_probabilities = functional.log_softmax(logits, dim=-1)
        loss = functional.nll_loss(log_probabilities, target, reduction="sum")
        entropies = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
        return loss, (entropies * (target != IGNORED_LABEL)).sum()

    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(hidden), CHUNK_TOKENS):
        part, target = hidden[start : start + CHUNK_TOKENS], labels[start : start + CHUNK_TOKENS]
        total = total + checkpoint(
            score, part, target, use_reentrant=False, context_fn=lambda: checkpoint_contexts(workload)
        )[0]  # fmt: skip
    return total


def _fused_loss(hidden: torch.Tensor, head: Any, labels: torch.Tensor, workload: Workload) -> torch.Tensor:
    """Score the positions that have a label, all of them here, as TRL 1.15 and later does (`_fused_forward`)."""
    rows = torch.empty(labels.numel(), dtype=torch.int64, device=labels.device)
    valid, targets = hidden[rows, rows], labels[rows, rows]
    dtype = torch_dtype(workload.autocast) if workload.autocast is not None else hidden.dtype
    del rows
    log_probabilities: torch.Tensor = _TiledLogProbabilities.apply(valid, head.weight, targets, dtype)
    return -log_probabilities.sum()


class _TiledLogProbabilities(torch.autograd.Function):
    """What TRL's `ChunkedLogProbFunction` allocates around its Triton kernels, which allocate nothing themselves.

    Logits exist one tile at a time, with a chunk of hidden states and of the head in the type to compute in; statistics
    are float32 per token; the backward pass gathers both gradients in float32 and narrows them at the end.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return the log-probability of each target."""
        statistics = [hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(7)]
        tiles = _score_tiles(hidden, weight, dtype)
        log_sum = statistics[0] + torch.log(statistics[1])
        del tiles
        result = statistics[2] - log_sum
        ctx.save_for_backward(hidden, weight, targets, log_sum)
        ctx.dtype = dtype
        return result

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the hidden states and of the head."""
        hidden, weight, _, _ = ctx.saved_tensors
        wide = [
            torch.empty_like(item, dtype=torch.float32) if is_needed else None
            for item, is_needed in zip((hidden, weight), ctx.needs_input_grad, strict=False)
        ]
        tiles = _score_tiles(hidden, weight, ctx.dtype)
        narrow = [
            None if grad is None else grad.to(item.dtype) for grad, item in zip(wide, (hidden, weight), strict=True)
        ]
        del tiles
        return narrow[0], narrow[1], None, None


def _score_tiles(hidden: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return the largest tile, which all tiles share, and the chunks that it is the product of; all live to the end."""
    num_tokens, num_words = min(len(hidden), TILE_TOKENS), min(len(weight), TILE_WORDS)
    tile = hidden.new_empty(num_tokens, num_words, dtype=dtype)
    return tile, hidden[:num_tokens].to(dtype), weight[:num_words].to(dtype)
