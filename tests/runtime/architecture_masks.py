"""What of conversations a model of an architecture learns, by the runtime's trainer and by TRL's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import trl_templates
from architecture_runs import by_hand
from datasets import Dataset
from short_plan import short_plan
from tiny_architectures import save_tiny
from transformers import AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer
from kaitoc.runtime.quiet import quiet_libraries

TEMPLATES = {
    "cohere": "cohere", "deepseek_v3": "deepseekv3", "gemma2": "gemma", "gemma3": "gemma3", "gpt_oss": "gptoss",
    "llama": "llama3", "phi3": "phi3", "qwen3": "qwen3", "qwen3_moe": "qwen3",
}  # fmt: skip
"""TRL's template of each architecture that has one; ChatML, which is Qwen2's, stands in for the others."""
CONVERSATIONS = [
    [
        {"role": "user", "content": "Which rank?"}, {"role": "assistant", "content": "Eight."},
        {"role": "user", "content": "And alpha?"}, {"role": "assistant", "content": "Sixteen, twice the rank."},
    ],
    [{"role": "user", "content": "assistant"}, {"role": "assistant", "content": "user"}],
]  # fmt: skip
MAX_LENGTH = 256


class Masked(NamedTuple):
    """The first batch, as the runtime makes it and as TRL does, and its loss, by the trainer and by hand."""

    ours: dict[str, torch.Tensor]
    theirs: dict[str, torch.Tensor]
    loss: float
    loss_by_hand: float


def masked(name: str, folder: Path) -> Masked:
    """Make the first batch of two conversations with a template that says what is generated."""
    template = trl_templates.source(f"{TEMPLATES.get(name, 'qwen2_5')}_training")
    save_tiny(name, folder / "model", trl_templates.with_template(template))
    # It is of the class that the architecture has, which may add a token of its own.
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    save_tiny(name, folder / "model", tokenizer)
    data = folder / "chats.jsonl"
    data.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in CONVERSATIONS), encoding="utf-8")
    with quiet_libraries():
        plan = short_plan(
            folder / "model", data, folder / "results", lora=None, data={"max_length": MAX_LENGTH, "shuffle": False},
            training={"train_sampling_strategy": "sequential", "per_device_train_batch_size": len(CONVERSATIONS)},
        )  # fmt: skip
        ready = make_ready(plan, RunOptions("cpu", show_progress=False))
        trainer = build_trainer(plan, ready)
        ours = next(iter(trainer.get_train_dataloader()))
        theirs = next(iter(_by_trl(ready.model, tokenizer, folder).get_train_dataloader()))
        with torch.no_grad():
            outputs = trainer.compute_loss(ready.model.train(), ours)
        return Masked(ours, theirs, float(outputs) - _of_router(trainer), by_hand(ready.model, ours))


def _of_router(trainer: Any) -> float:
    """The share of a loss that a mixture's router has."""
    noted = trainer._metrics["train"].get("aux_loss")
    return float(trainer.router_aux_loss_coef * noted[-1]) if noted else 0.0


def _by_trl(model: Any, tokenizer: Any, folder: Path) -> SFTTrainer:
    arguments = SFTConfig(
        output_dir=str(folder / "trl"), assistant_only_loss=True, max_length=MAX_LENGTH, use_cpu=True, bf16=False,
        per_device_train_batch_size=len(CONVERSATIONS), train_sampling_strategy="sequential", report_to="none",
    )  # fmt: skip
    rows = Dataset.from_list([{"messages": turns} for turns in CONVERSATIONS])
    return SFTTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer)
