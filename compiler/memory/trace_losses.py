"""The loss of a causal language model in the implementations that training scripts use."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kaitoc.compiler.memory.footprint_model import CHUNK_TOKENS
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.trace_model import checkpoint_contexts
from kaitoc.compiler.memory.trace_recorder import AllocationRecorder
from kaitoc.compiler.memory.workload import Loss, Workload, WorkloadError


def loss_of(
    recorder: AllocationRecorder,
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    workload: Workload,
) -> torch.Tensor:
    """Return the loss of a batch; the tensors have the shape (batch, tokens).

    Raises `WorkloadError` for a loss that the trace cannot run.
    """
    if workload.loss is Loss.FUSED:
        raise WorkloadError("the fused loss is a Triton kernel, which --trace cannot run; leave --trace out for it")
    if workload.loss is Loss.CHUNKED:
        return _chunked_loss(recorder, model, input_ids, attention_mask, labels, workload)
    loss: torch.Tensor = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=False).loss
    return loss


def _chunked_loss(
    recorder: AllocationRecorder,
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    workload: Workload,
) -> torch.Tensor:
    """Score the hidden states chunk by chunk, as TRL 1.7 to 1.14 does (`_chunked_cross_entropy_loss`).

    The last position is dropped and the rest put in order, two copies; each chunk widens the output layer to float32,
    tells the entropy besides the loss, and is computed again on the way back.
    """
    head = model.get_output_embeddings()
    backbone = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    hidden = backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    recorder.phase = Phase.LOSS
    shifted = hidden[:, :-1].flatten(0, 1)
    order = torch.arange(len(shifted), device=hidden.device)
    parts = torch.split(shifted.index_select(0, order), CHUNK_TOKENS)
    targets = torch.split(labels[:, 1:].flatten(), CHUNK_TOKENS)
    del hidden, shifted

    def score(part: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = functional.linear(part.float(), head.weight.float()).float()
        loss = functional.cross_entropy(logits, target, reduction="sum")
        with torch.no_grad():
            log_probabilities = logits.log_softmax(-1)
            (log_probabilities.exp() * log_probabilities).sum(-1)
        return loss

    losses = [
        checkpoint(score, part, target, use_reentrant=False, context_fn=lambda: checkpoint_contexts(workload))
        for part, target in zip(parts, targets, strict=True)
    ]
    return torch.stack(losses).sum()
