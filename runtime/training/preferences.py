"""TRL's trainer for direct preference optimization, on pairs that are tokens already."""

from __future__ import annotations

import math
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

from kaitoc.runtime.training.loop import CheckpointedTrainer
from kaitoc.runtime.training.several_processes import router_loss_times

_LOSS_OF_FILLER = math.log(2)
"""Without answers both rewards are 0: `-logsigmoid(0)`, which has no gradient (trl's `_compute_loss`)."""
_MEANS_OF_PAIRS = (
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
)  # fmt: skip
"""What TRL logs as a mean over the pairs of all processes; a filler's share of each is 0."""


class PreferenceTrainer(CheckpointedTrainer, DPOTrainer):
    """Prefers chosen answers over rejected ones; the reference is the model without its new adapter."""

    def __init__(self, *, model: Any, **options: Any) -> None:
        super().__init__(model=model, **options)
        # TRL takes an adapter for a trained one, of which it keeps a copy. A new one adds nothing, so that the base is
        # the same reference: the copy would be saved beside it, and is not in its checkpoints.
        model.delete_adapter("ref")

    @override
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    @property
    @override
    def weighs_batches(self) -> bool:
        return True

    @override
    def has_rows(self, batch: dict[str, Any]) -> bool:
        return bool(batch["completion_mask"].any())

    @override
    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the mean loss of a batch's pairs, without the fillers behind them."""
        if self.accelerator.num_processes > 1:
            inputs = _with_hidden_fillers(inputs)
        with router_loss_times(model, float(self.has_rows(inputs))) as router_losses:
            loss = super().compute_loss(model, inputs, *args, **kwargs)
        num_rows, num_pairs = _count(inputs["completion_mask"])
        router_loss = router_losses[0] if router_losses else 0.0
        self._note("train" if model.training else "eval", num_rows, num_pairs, router_loss)
        if self.accelerator.num_processes == 1:
            return loss
        weighted = self.router_aux_loss_coef * router_loss
        loss_of_fillers = _LOSS_OF_FILLER * (num_rows - num_pairs)
        mean = ((loss - weighted) * num_rows - loss_of_fillers) / max(1, num_pairs) + weighted
        return mean * self.weight if model.training else mean

    def _note(self, mode: str, num_rows: int, num_pairs: int, router_loss: float | torch.Tensor) -> None:
        """Have what TRL noted of a batch of all processes be means over its pairs."""
        rows, pairs, with_pairs, router = self.totals(num_rows, num_pairs, num_pairs > 0, router_loss)
        means = {name: self._metrics[mode][name][-1] * rows / max(1.0, pairs) for name in _MEANS_OF_PAIRS}
        if self.aux_loss_enabled:
            means["aux_loss"] = router / max(1.0, with_pairs)
        self.note_means(mode, pairs, means)


def _count(completion_mask: torch.Tensor) -> tuple[int, int]:
    """Count the rows of a batch, and those of them that are pairs."""
    has_answers = _has_answers(completion_mask)
    return len(has_answers), int(has_answers.sum())


def _has_answers(completion_mask: torch.Tensor) -> torch.Tensor:
    """Tell for each row of a batch whether it is a pair; the first half of the mask are the chosen answers."""
    chosen, rejected = completion_mask.any(dim=1).chunk(2)
    return chosen | rejected


def _with_hidden_fillers(batch: dict[str, Any]) -> dict[str, Any]:
    """Hide the fillers of a batch from attention, unless there is nothing else in it.

    A mixture's router counts the tokens of the attention mask. The rows themselves stay: TRL gathers rewards by row,
    for which all processes need as many.
    """
    has_answers = _has_answers(batch["completion_mask"])
    if has_answers.all() or not has_answers.any():
        return batch
    return {**batch, "attention_mask": batch["attention_mask"] * has_answers.repeat(2).unsqueeze(1)}
