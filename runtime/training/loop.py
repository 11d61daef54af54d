"""TRL's trainer with sealed checkpoints; it remembers the largest batch it was given and how much text it saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.distributed.tensor import DTensor
from transformers import EarlyStoppingCallback, Trainer
from trl.trainer.sft_trainer import SFTTrainer
from typing_extensions import override

from kaitoc.runtime.data.encode import IGNORED
from kaitoc.runtime.failures import FinalFailure
from kaitoc.runtime.model.sharding import form_groups, shard_on_cpu
from kaitoc.runtime.output.adapter import gathered_state
from kaitoc.runtime.output.checkpoints import PREFIX, seal
from kaitoc.runtime.output.own_files import files_of, is_library_file
from kaitoc.runtime.output.rotation import remove_damaged, rotate
from kaitoc.runtime.output.whole_model import load_weights
from kaitoc.runtime.training.even_batches import without_fillers
from kaitoc.runtime.training.several_processes import SeveralProcesses, router_loss_times


class CheckpointedTrainer(SeveralProcesses):
    """Seals checkpoints, and shards on a CPU too; `largest_batch` and `last_batch` are (sequences, padded tokens)."""

    largest_batch: tuple[int, int] = (0, 0)
    last_batch: tuple[int, int] = (0, 0)
    num_tokens_seen: int = 0
    passed_over: tuple[Path, ...] = ()
    """Damaged checkpoints of the run that is resumed, which go once there is a newer whole one."""

    def create_accelerator_and_postprocess(self) -> None:
        """Set accelerate up, which by itself would not shard on a CPU, nor in groups there."""
        groups, self.args.parallelism_config = self.args.parallelism_config, None
        super().create_accelerator_and_postprocess()
        if self.args.fsdp_plugin_args is not None and not self.is_fsdp_enabled:
            shard_on_cpu(self)
        if groups is not None:
            form_groups(self, groups)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Train on one batch and note its size."""
        ids = inputs["input_ids"]
        self.last_batch = int(ids.shape[0]), int(ids.shape[1])
        self.largest_batch = max(self.largest_batch, self.last_batch, key=lambda one: one[0] * one[1])
        self.num_tokens_seen += _num_real_tokens(inputs)
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        return loss

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train for an epoch, unless the checkpoint that was loaded is that of the last step.

        transformers asks only after a step whether it was the last, so it would train one more.
        """
        if self._is_over():
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _is_over(self) -> bool:
        stops = [
            callback for callback in self.callback_handler.callbacks if isinstance(callback, EarlyStoppingCallback)
        ]
        lost_patience = any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience for callback in stops
        )
        return lost_patience or self.state.global_step >= self.state.max_steps

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load a checkpoint's weights; a whole model's by the names that they are saved under."""
        if self._saves_whole_model():
            load_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """Load the best checkpoint's weights; a whole model's by the names that they are saved under."""
        if self._saves_whole_model():
            load_weights(self.model, Path(str(self.state.best_model_checkpoint)))
        else:
            super()._load_best_model()

    def _saves_whole_model(self) -> bool:
        return not self.is_fsdp_enabled and not isinstance(self.model, PeftModel)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, gathered first when it is sharded."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        state = gathered_state(self.model)
        if self.args.should_save:
            self._save(output_dir or self.args.output_dir, state_dict=state)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint, seal it, and only then remove those that it replaces.

        TRL's own method would add a model card to each; it is passed over.
        """
        require_numbers(model, self.state.global_step)
        folder = Path(str(self.args.output_dir))
        checkpoint = folder / f"{PREFIX}{self.state.global_step}"
        users = [file for file in files_of(checkpoint) if not is_library_file(file)]
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            Trainer._save_checkpoint(self, model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(checkpoint, users)
            remove_damaged(self.passed_over)
            self.passed_over = ()
            rotate(folder, limit, self.state.best_model_checkpoint)


class TuningTrainer(CheckpointedTrainer, SFTTrainer):
    """Trains on rows that are tokens and labels already."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # TRL's loss shifts labels for every model. transformers asks the name of the model's class, and counts the
        # first token of a GPT2LMHeadModel's row as learned, which makes each loss and gradient too small.
        self._loss_shifts_labels = True

    @property
    @override
    def weighs_batches(self) -> bool:
        return bool(self.aux_loss_enabled)

    @override
    def has_rows(self, batch: dict[str, Any]) -> bool:
        return bool((batch["labels"] != IGNORED).any())

    @override
    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the loss of a batch; of fillers alone a mixture's router has none, and the others have its share."""
        if self.accelerator.num_processes == 1 or not self.weighs_batches:
            return super().compute_loss(model, inputs, *args, **kwargs)
        has_rows, coefficient = self.has_rows(inputs), self.router_aux_loss_coef
        self.router_aux_loss_coef = coefficient * (self.weight if model.training else 1)
        try:
            with router_loss_times(model, float(has_rows)) as router_losses:
                loss = super().compute_loss(model, without_fillers(inputs), *args, **kwargs)
        finally:
            self.router_aux_loss_coef = coefficient
        num_with_rows, router_loss = self.totals(has_rows, router_losses[0])
        mean = router_loss / max(1.0, num_with_rows)
        self.note_means("train" if model.training else "eval", num_with_rows, {"aux_loss": mean})
        return loss


def name_experts(config: Any) -> None:
    """Have the config of a mixture answer for `num_experts`, which TRL asks of all that return a router's loss.

    Granite's and Phi's call it `num_local_experts` (trl/trainer/utils.py, `_fused_forward`).
    """
    text_config = config.get_text_config()
    if hasattr(text_config, "num_local_experts") and not hasattr(text_config, "num_experts"):
        kind = type(text_config)
        kind.attribute_map = {**kind.attribute_map, "num_experts": "num_local_experts"}


def require_numbers(model: torch.nn.Module, step: int) -> None:
    """Raise `FinalFailure` when a trained weight is not a number; between two logged steps no loss shows it."""
    for name, value in model.named_parameters():
        mine = value.to_local() if isinstance(value, DTensor) else value
        if value.requires_grad and not bool(torch.isfinite(mine).all()):
            raise FinalFailure(f"`{name}` is not a number at step {step}; lower the learning rate, or use bf16")


def _num_real_tokens(inputs: dict[str, Any]) -> int:
    """Return the number of tokens of a batch that are not padding."""
    mask = inputs.get("attention_mask")
    return int(mask.sum()) if mask is not None else int(inputs["input_ids"].numel())
