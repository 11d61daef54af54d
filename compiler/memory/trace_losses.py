"""The loss of a causal language model in the implementations that training scripts use."""

from __future__ import annotations

from typing import Any

import torch

from kaitoc.compiler.memory.workload import Loss, Workload, WorkloadError


def loss_of(
    model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, workload: Workload
) -> torch.Tensor:
    """Return the loss of a batch; the tensors have the shape (batch, tokens)."""
    if workload.loss is Loss.FULL:
        loss: torch.Tensor = model(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, use_cache=False
        ).loss
        return loss
    raise WorkloadError(f"the trace knows no {workload.loss.value} loss; leave --trace out for it")
