"""In which order, and in which type, a run adds up the gradients of a step: changed in the process that calls these.

TRL keeps the adapter of a quantized model in bfloat16 (trl/trainer/sft_trainer.py, `__init__`), so its gradients are
added up there, and sums of more than two depend on their order: one process adds ((a + b) + c) + d where two add
(a + c) + (b + d).
"""

from __future__ import annotations

from typing import Any

import torch

from kaitoc.runtime.launch import run
from kaitoc.runtime.training.loop import CheckpointedTrainer

NUM_PROCESSES = 2


def add_up_as_two() -> None:
    """Have one process add up the gradients of a step's batches as two do, each of which has every other batch."""
    train_on_batch = CheckpointedTrainer.training_step

    def training_step(self: Any, model: Any, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = train_on_batch(self, model, *arguments, **options)
        batches: list[dict[str, torch.Tensor]] = vars(self).setdefault("gradients_by_batch", [])
        trained = {name: value for name, value in model.named_parameters() if value.grad is not None}
        batches.append({name: value.grad for name, value in trained.items()})
        model.zero_grad(set_to_none=True)
        if self.accelerator.sync_gradients:
            for name, value in trained.items():
                value.grad = sum(_sums(batches, name))
            batches.clear()
        return loss

    CheckpointedTrainer.training_step = training_step  # type: ignore[method-assign]  # in a process of its own


def _sums(batches: list[dict[str, torch.Tensor]], name: str) -> list[Any]:
    return [sum(batch[name] for batch in batches[rank::NUM_PROCESSES]) for rank in range(NUM_PROCESSES)]


def keep_float32() -> None:
    """Have a quantized model's adapter trained in float32."""
    build = run.build_trainer

    def build_trainer(*arguments: Any) -> Any:
        trainer = build(*arguments)
        run._widen_trained(trainer.model)
        return trainer

    run.build_trainer = build_trainer
