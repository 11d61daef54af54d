"""The script that a careful engineer would write by hand with trl and peft; the runtime is held to its losses.

It shares no code with the runtime: plain `SFTTrainer`, trl's own data preparation, the arguments spelled out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ARGUMENTS: dict[str, Any] = {
    "max_steps": 8,
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "max_grad_norm": 0.5,
    "optim": "adamw_torch",
    "logging_steps": 1,
    "seed": 7,
    "bf16": False,
    "save_strategy": "no",
}
MAX_LENGTH = 48
TARGETS = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]


def rows(data: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]


def train(
    model_path: Path,
    data: Path,
    output: Path,
    *,
    quantized: bool,
    checkpointing: bool,
    callbacks: Any = (),
    **more: Any,
) -> list[float]:
    """Train an adapter and return the loss of each step."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=True,
    )
    model = AutoModelForCausalLM.from_pretrained(
        model_path,
        dtype=torch.float32,
        quantization_config=quantization if quantized else None,
        device_map={"": "cpu"} if quantized else None,
    )
    if quantized:
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(output),
            max_length=MAX_LENGTH,
            gradient_checkpointing=checkpointing,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            **{**ARGUMENTS, **more},
        ),
        train_dataset=Dataset.from_list(rows(data)),
        processing_class=AutoTokenizer.from_pretrained(model_path),
        callbacks=list(callbacks),
        peft_config=LoraConfig(
            r=4, lora_alpha=8, lora_dropout=0.1, target_modules=TARGETS, task_type="CAUSAL_LM"
        ),
    )  # fmt: skip
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
