"""Random steps of the catalog's models under `fully_shard`, with fewer layers and narrower heads than the models have.

What decides on code paths stays: the numbers of heads, key heads and experts, windows, tied heads, biases.
"""

from __future__ import annotations

import random
from dataclasses import replace

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import all_models
from kaitoc.compiler.memory.closed_form.validation import can_run
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.workload import (
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Reference,
    Workload,
)

_STACKS = {
    Loss.FULL: ("transformers-5", "kaito-v0.12", "trl-chunked"),
    Loss.FUSED: ("trl-chunked",),
    Loss.CHUNKED: ("kaito-v0.12", "trl-1.10", "trl-1.13"),
    Loss.LIGER: ("transformers-5",),
    Loss.CCE: ("transformers-5",),
}
_LOSSES = (*[Loss.FULL] * 4, Loss.FUSED, Loss.CHUNKED, Loss.LIGER, Loss.CCE)
_METHODS = ("full", "full", "LoRA", "LoRA", "LoRA", "DoRA", "QLoRA", "QLoRA", "QLoRA")
_ATTENTION = ("q_proj", "v_proj"), ("c_attn",), ("query_key_value",), ("qkv_proj",)
_WIDTHS = ("hidden_size", "n_embd", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size")
_LAYERS = ("num_hidden_layers", "n_layer")
_DROPOUTS = (
    "attention_dropout", "attn_pdrop", "resid_pdrop", "residual_dropout", "hidden_dropout", "embd_pdrop",
    "embedding_dropout",
)  # fmt: skip
_MOST_PAIRS = 4 << 20


def narrowed(model: Architecture, dice: random.Random) -> Architecture:
    """Return a model with few layers and words, most of the time with narrow heads too."""
    widths = [factor for factor in (1, 2, 4, 8) if _divides(model, factor)]
    factor = dice.choice(widths)
    config: dict[str, object] = {"model_type": model.model_type, **model.config}
    for key in _WIDTHS:
        value = config.get(key)
        if isinstance(value, int):
            config[key] = value // factor
    if "head_dim" in config:
        config["head_dim"] = model.head_dim // factor
    for key in _LAYERS:
        if key in config:
            config[key] = dice.choice((2, 3, 4, 5, 7, 9))
    config["vocab_size"] = max(512, model.vocab_size // dice.choice((1, factor, factor * 4)))
    return from_config(model.name, config)


def _divides(model: Architecture, factor: int) -> bool:
    head_dim, remainder = divmod(model.head_dim, factor)
    rotary = model.config.get("partial_rotary_factor", model.config.get("rotary_pct", 1.0))
    rotated = head_dim * float(str(rotary))
    return not remainder and head_dim % 8 == 0 and rotated == int(rotated) and int(rotated) % 2 == 0


def draw(dice: random.Random) -> Workload:
    """Draw a step that a run can have."""
    while True:
        asked = _drawn(dice)
        if can_run(asked) and _has_kernel(asked):
            return asked


def draw_loss(dice: random.Random) -> Workload:
    """Draw a step of few tokens whose loss never holds all logits, on one GPU or several, with usual layers."""
    while True:
        asked = draw(dice)
        if dice.random() < 0.5:
            asked = replace(asked, num_gpus=1, sharding=WHOLE_COPIES)
        is_usual = asked.attention is Attention.SDPA and not (asked.lora is not None and asked.lora.dora)
        is_usual = is_usual and asked.dtype is Dtype.BFLOAT16 and asked.batch_size * asked.seq_len_tokens <= 2048
        if is_usual and asked.loss is not Loss.FULL and asked.architecture.hidden_size <= 2048:
            return asked


def name_of(asked: Workload) -> str:
    """Name what was drawn of a step."""
    lora, sharding = asked.lora, asked.sharding
    method = "full" if lora is None else "DoRA" if lora.dora else "LoRA"
    words = [
        asked.architecture.name, method, "+".join(lora.modules_to_save) if lora is not None else "",
        asked.quantization.value if asked.quantization is not Quantization.NONE else "",
        asked.loss.value, f"{asked.batch_size}x{asked.seq_len_tokens}", asked.stack, asked.dtype.value,
        "autocast" if asked.autocast else "", "checkpointed" if asked.gradient_checkpointing else "",
        asked.attention.value, f"{asked.num_gpus} GPUs, {sharding.wrap.value}" if sharding.is_sharded else "one GPU",
    ]  # fmt: skip
    return " ".join(filter(None, words))


def _has_kernel(asked: Workload) -> bool:
    """Whether flash attention gets half precision, and hands on what the next layer takes."""
    is_half = asked.autocast is not None or asked.dtype is not Dtype.FLOAT32
    has_flash = is_half and asked.architecture.model_type != "falcon"
    return asked.attention is not Attention.FLASH or has_flash


def _drawn(dice: random.Random) -> Workload:
    model = dice.choice(all_models())
    narrow = narrowed(model, dice)
    method, loss = dice.choice(_METHODS), dice.choice(_LOSSES)
    batch, length = dice.choice((1, 1, 2, 3, 4)), dice.choice((100, 128, 256, 512, 700, 1024, 2048))
    quantized = method == "QLoRA"
    reference = method != "full" and loss is Loss.FUSED and dice.random() < 0.3
    stack = dice.choice(_STACKS[loss])
    while batch * length * length * model.num_heads > 32 * _MOST_PAIRS:
        length //= 2
    return Workload(
        narrow,
        None if method == "full" else _adapter(dice, method, model),
        2 * batch if reference else batch,
        length,
        stack,
        quantization=Quantization.NF4 if quantized else Quantization.NONE,
        double_quant=quantized and dice.random() < 0.5,
        kbit_prep=quantized and dice.random() < 0.5,
        dtype=dice.choice((Dtype.BFLOAT16,) * 4 + (Dtype.FLOAT16, Dtype.FLOAT32)),
        autocast=dice.choice((Dtype.BFLOAT16, Dtype.BFLOAT16, None)),
        gradient_checkpointing=dice.random() < 0.6,
        attention=dice.choice((Attention.SDPA, Attention.SDPA, Attention.FLASH, Attention.EAGER)),
        loss=loss,
        optimizer=dice.choice((Optimizer.ADAMW, Optimizer.ADAMW, *Optimizer)),
        is_padded=dice.random() < 0.3,
        accumulates=dice.random() < 0.3,
        num_gpus=(num_gpus := dice.choice((2, 3, 4, 8))),
        sharding=_sharding(dice, num_gpus),
        reference=Reference.BASE if reference else Reference.NONE,
        liger_version=dice.choice(("0.8.5", "0.6.0", "0.3.0")) if loss is Loss.LIGER else "0.8.5",
    )


def _adapter(dice: random.Random, method: str, model: Architecture) -> Lora:
    from kaitoc.compiler.catalog.families import find_family

    family = find_family(model.model_type)
    targets = dice.choice((("all-linear",), ("all-linear",), family.attention[:1], family.attention))
    saved = dice.choice(((), (), (), (family.head,), (family.embedding, family.head)))
    return Lora(
        rank=dice.choice((4, 8, 16, 64)),
        dropout=0.0 if model.num_experts else dice.choice((0.0, 0.0, 0.1)),
        targets=targets,
        dora=method == "DoRA",
        modules_to_save=saved if not model.tied_embeddings else (),
    )


def _sharding(dice: random.Random, num_gpus: int) -> Sharding:
    return Sharding(
        ShardingKind.FSDP2,
        shard_group=num_gpus // 2 if num_gpus in (4, 8) and dice.random() < 0.25 else None,
        reshard_after_forward=dice.random() < 0.7,
        wrap=dice.choice(list(Wrap)),
        sync_each_batch=dice.random() < 0.3,
    )


def with_dropout(asked: Workload, dice: random.Random) -> Workload:
    """Return a step whose model drops out wherever its family can."""
    config = {"model_type": asked.architecture.model_type, **asked.architecture.config}
    config.update(dict.fromkeys(_DROPOUTS, 0.1))
    return replace(asked, architecture=from_config(asked.architecture.name, config))
