"""TRL's trainer for direct preference optimization, on pairs that are tokens already."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl.trainer.dpo_trainer import DPOTrainer
from typing_extensions import override

from kaitoc.runtime.training.loop import CheckpointedTrainer


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
