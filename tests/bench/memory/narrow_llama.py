"""A step of a Llama of six narrow layers, shared by GPUs: small enough to hold to PyTorch's own `fully_shard`."""

from __future__ import annotations

from dataclasses import replace

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.sharding.model import Sharding
from kaitoc.compiler.memory.workload import Dtype, Optimizer, Workload


def narrow_llama(**changes: object) -> Architecture:
    """Return the model; changes are to its `config.json`."""
    model = find_model("llama-3.1-8b-instruct")
    assert model is not None
    sizes = {
        "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 4096,
    }  # fmt: skip
    return from_config("tiny", {**model.config, "model_type": model.model_type, **sizes, **changes})


def narrow_workload(num_gpus: int, sharding: Sharding, **changes: object) -> Workload:
    """Return a step of it that trains all weights in mixed precision; changes are to the step."""
    step = Workload(
        architecture=narrow_llama(),
        lora=None,
        batch_size=1,
        seq_len_tokens=512,
        stack="transformers-5",
        autocast=Dtype.BFLOAT16,
        gradient_checkpointing=True,
        optimizer=Optimizer.ADAMW,
        num_gpus=num_gpus,
        sharding=sharding,
    )
    return replace(step, **changes)
