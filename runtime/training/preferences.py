"""TRL's trainer for direct preference optimization, on pairs that are tokens already."""

from __future__ import annotations

import math
from typing import Any

import torch
from datasets import Dataset
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

from kaitoc.runtime.training.loop import CheckpointedTrainer

_LOSS_OF_FILLER = math.log(2)
"""Without answers both rewards are 0: `-logsigmoid(0)`, which has no gradient (trl's `_compute_loss`)."""
_MEANS_OF_PAIRS = (
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
)  # fmt: skip
"""What TRL logs as a mean over the pairs of all processes; a filler's share of each is 0."""


class PreferenceTrainer(CheckpointedTrainer, DPOTrainer):
    """Prefers chosen answers over rejected ones; the reference is the model without its new adapter."""

    _weight = 1.0
    """What makes the mean over all processes' batches of a step one over those that hold pairs."""

    def __init__(self, *, model: Any, **options: Any) -> None:
        super().__init__(model=model, **options)
        # TRL takes an adapter for a trained one, of which it keeps a copy. A new one adds nothing, so that the base is
        # the same reference: the copy would be saved beside it, and is not in its checkpoints.
        model.delete_adapter("ref")

    @override
    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    @override
    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step; of those of several processes the last may be fillers alone."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        if self.accelerator.num_processes > 1:
            has_pairs = [batch["completion_mask"].any() for batch in batches]
            counts = torch.tensor([len(batches), sum(map(int, has_pairs))], device=self.args.device)
            num_batches, num_with_pairs = self.accelerator.reduce(counts, "sum").tolist()
            self._weight = num_batches / max(1, num_with_pairs)
        return batches, num_items

    @override
    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the mean loss of a batch's pairs, without the fillers behind them."""
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if self.accelerator.num_processes == 1:
            return loss
        num_rows, num_pairs = _count(inputs["completion_mask"])
        self._leave_out_fillers("train" if model.training else "eval", num_rows, num_pairs)
        mean = (loss * num_rows - _LOSS_OF_FILLER * (num_rows - num_pairs)) / max(1, num_pairs)
        return mean * self._weight if model.training else mean

    def _leave_out_fillers(self, mode: str, num_rows: int, num_pairs: int) -> None:
        """Have what TRL noted of a batch of all processes be the mean over its pairs."""
        counts = torch.tensor([num_rows, num_pairs], device=self.args.device)
        num_rows, num_pairs = self.accelerator.reduce(counts, "sum").tolist()
        for name in _MEANS_OF_PAIRS:
            self._metrics[mode][name][-1] *= num_rows / max(1, num_pairs)


def _count(completion_mask: torch.Tensor) -> tuple[int, int]:
    """Return the rows of a batch, and how many of them are pairs; its first half are the chosen answers."""
    chosen, rejected = completion_mask.any(dim=1).chunk(2)
    return len(chosen), int((chosen | rejected).sum())
