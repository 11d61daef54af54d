"""Trains a tiny model of an architecture by the runtime's own parts, and reads back what it saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from short_plan import short_plan
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer
from kaitoc.runtime.model.load import keep_layout
from kaitoc.runtime.output.adapter import save
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.callbacks import History, MetricsCallback

CHANGES: dict[str, dict[str, dict[str, Any] | None]] = {
    "lora": {},
    "nf4": {"quantization": {"method": "nf4", "compute_dtype": "float32"}},
    "full": {"lora": None},
}
"""What makes a plan of a LoRA run one of each method."""


class Trained(NamedTuple):
    """The loss of the first step, as logged and by hand, and the logits of a short run."""

    logged_loss: float
    loss_by_hand: float
    before: torch.Tensor
    after: torch.Tensor
    reloaded: torch.Tensor
    folder: Path


def train(method: str, model: Path, data: Path, output: Path, **changes: Any) -> Trained:
    """Train four steps and save; raises the `RunFailure` of a run that is refused."""
    plan = short_plan(model, data, output, **{**CHANGES[method], **changes})
    with quiet_libraries():
        ready = make_ready(plan, RunOptions("cpu", show_progress=False))
        trainer = build_trainer(plan, ready)
        batch = next(iter(trainer.get_train_dataloader()))
        before = logits(ready.model)
        token_loss = by_hand(ready.model, batch)
        history = History()
        trainer.add_callback(MetricsCallback(None, history, lambda: 0))
        trainer.train()
        folder = save(ready.model, ready.tokenizer, plan)
        after = logits(ready.model)
        logged = (history.token_losses or history.losses)[0]
        return Trained(logged, token_loss, before, after, logits(reload(plan, folder)), folder)


def by_hand(model: Any, batch: dict[str, torch.Tensor]) -> float:
    """The mean cross-entropy of a batch's labelled tokens."""
    with torch.no_grad():
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return float(cross_entropy(scores.float().transpose(1, 2), batch["labels"][:, 1:]))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        scores: torch.Tensor = model.eval()(torch.arange(5, 37).unsqueeze(0), use_cache=False).logits
    return scores


def reload(plan: Plan, folder: Path) -> Any:
    """Load a result as its user does: the model, or the adapter on the base model as it was quantized.

    TRL trains adapters over quantized weights in bfloat16; PEFT loads them as float32.
    """
    if plan.lora is None:
        return AutoModelForCausalLM.from_pretrained(folder)
    config = None
    if plan.quantization.method != "none":
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(plan.model.path, dtype=torch.float32, quantization_config=config)
    keep_layout(base)
    model = PeftModel.from_pretrained(base, folder)
    if config is not None:
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(torch.bfloat16)
    return model
