"""Steps with batches that differ in length: combinations of what decides, and ones drawn at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.batches import Batching, Lengths, Loading, assumed_lengths, batches, even_lengths
from kaitoc.compiler.memory.closed_form.validation import can_run
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import (
    Allocator,
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Workload,
)

SHALLOW_METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA, checkpointed": {"gradient_checkpointing": True},
    "QLoRA": {"quantization": Quantization.NF4, "kbit_prep": True, "gradient_checkpointing": True},
    "full": {"lora": None},
    "full, checkpointed": {"lora": None, "gradient_checkpointing": True},
}
LOSSES: dict[str, dict[str, Any]] = {
    "full logits": {},
    "fused loss": {"loss": Loss.FUSED},
    "Liger's loss": {"loss": Loss.LIGER},
    "TRL's chunks": {"loss": Loss.CHUNKED, "stack": "trl-1.12"},
}
NUM_BATCHES, NUM_ROWS = 8, 64
MODELS = (
    "qwen2.5-0.5b", "qwen3-0.6b", "llama-3.2-1b", "smollm2-360m", "gemma-2-2b", "gemma-3-1b", "phi-2",
    "phi-3-mini-4k-instruct", "phi-4-mini-instruct", "mistral-7b", "falcon-7b", "pythia-410m", "gpt2",
    "qwen1.5-moe-a2.7b", "mixtral-8x7b", "powerlm-3b",
)  # fmt: skip
NUM_LAYERS = (3, 4, 6)
STACKS = ("transformers-5", "trl-1.10", "trl-1.12", "trl-1.13", "trl-1.16", "kaito-v0.12")
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "DoRA": {"lora": Lora(dora=True)},
    "LoRA with dropout": {"lora": Lora(16, dropout=0.05)},
    "LoRA with a trained head": {"lora": Lora(modules_to_save=("lm_head",))},
    "QLoRA": {"quantization": Quantization.NF4, "kbit_prep": True},
    "QLoRA without preparation": {"quantization": Quantization.NF4, "double_quant": True},
    "8-bit LoRA": {"quantization": Quantization.INT8},
    "full": {"lora": None},
    "full in float32": {"lora": None, "dtype": Dtype.FLOAT32, "autocast": Dtype.BFLOAT16},
}
CAPS = (512, 1024, 2048)


class Way(NamedTuple):
    """A step and the batches that it is run on, an optimizer step after every `accumulation_steps` of them."""

    name: str
    step: Workload
    shapes: list[BatchShape]
    accumulation_steps: int


def combined_ways(num_seeds: int, words: str = "") -> Iterator[Way]:
    """Yield the combinations whose names have these words, each with so many orders of the data."""
    step = Workload(_shortened("qwen2.5-0.5b", 3), Lora(), 4, 1024, "transformers-5", is_padded=True)
    for (method, of_method), (loss, of_loss), allocator, steps in product(
        SHALLOW_METHODS.items(), LOSSES.items(), Allocator, (1, 3)
    ):
        name = f"{method}, {loss}, {allocator.value} allocator, accumulation {steps}"
        for seed in range(1, num_seeds + 1) if words in name else ():
            shapes = batches(assumed_lengths(200, 600, 1024, 1024, 64), Loading(), 4, seed, 6)
            yield Way(f"{name}, seed {seed}", replace(step, **of_method, **of_loss, allocator=allocator), shapes, steps)


def random_ways(num_ways: int, seed: int) -> Iterator[Way]:
    """Yield ways that a run can have."""
    dice, num_drawn = random.Random(seed), 0
    while num_drawn < num_ways:
        way = _draw(dice)
        if can_run(way.step) and _is_traceable(way.step):
            num_drawn += 1
            yield way


def _draw(dice: random.Random) -> Way:
    method, model = dice.choice(list(METHODS)), _shortened(dice.choice(MODELS), dice.choice(NUM_LAYERS))
    loading = Loading(dice.choice(list(Batching)), pad_to_multiple_of=dice.choice((1, 1, 8, 64)))
    lengths, rows, steps = _lengths(dice), dice.choice((1, 2, 3, 4, 8)), dice.choice((1, 1, 2, 3))
    settings: dict[str, Any] = {
        "stack": dice.choice(STACKS),
        "loss": dice.choice(list(Loss)),
        "optimizer": dice.choice(list(Optimizer)),
        "allocator": dice.choice(list(Allocator)),
        "attention": dice.choice((Attention.SDPA, Attention.SDPA, Attention.EAGER, Attention.FLASH)),
        "autocast": dice.choice((None, Dtype.BFLOAT16)),
        "gradient_checkpointing": dice.random() < 0.5,
        "empty_cache_each_step": dice.random() < 0.2,
        "is_padded": rows > 1 and loading.batching is not Batching.PACKED,
        "accumulates": steps > 1,
        **METHODS[method],
    }
    kind = dice.choice(("plain", "plain", "plain", "outputs held", "in backward", "activations offloaded"))
    if kind == "outputs held":
        settings |= {"holds_outputs": True, "loss": Loss.FULL}
    elif kind == "in backward":
        settings |= {"steps_in_backward": True, "accumulates": False}
        steps = 1
    elif kind == "activations offloaded":
        settings["offloads_activations"] = True
    step = replace(Workload(model, Lora(), rows, lengths.cap_tokens, "transformers-5"), **settings)
    shapes = batches(lengths, loading, rows, dice.randrange(1 << 16), NUM_BATCHES)
    return Way(_name(method, kind, step, loading, steps), step, shapes, steps)


def _shortened(name: str, num_layers: int) -> Architecture:
    model = find_model(name)
    if model is None:
        raise SystemExit(f"the catalog has no {name}")
    key = "n_layer" if "n_layer" in model.config else "num_hidden_layers"
    config = {**model.config, "model_type": model.model_type, key: num_layers}
    if "layer_types" in config:
        config["layer_types"] = model.config["layer_types"][:num_layers]  # type: ignore[index]  # a list
    return from_config(f"{name} of {num_layers} layers", config)


def _lengths(dice: random.Random) -> Lengths:
    cap = dice.choice(CAPS)
    if dice.random() < 0.2:
        return even_lengths(cap, NUM_ROWS)
    p50 = dice.randint(16, cap // 2)
    p90 = dice.randint(p50, cap)
    return assumed_lengths(p50, p90, dice.randint(p90, cap), cap, NUM_ROWS)


def _name(method: str, kind: str, step: Workload, loading: Loading, steps: int) -> str:
    words = [
        step.architecture.name, method, "" if kind == "plain" else kind, f"{step.batch_size} rows",
        loading.batching.value, f"multiples of {loading.pad_to_multiple_of}", step.stack, f"{step.loss.value} loss",
        step.optimizer.value, step.allocator.value, step.attention.value,
        "autocast" if step.autocast else "no autocast",
        "checkpointed" if step.gradient_checkpointing else "",
        "emptied" if step.empty_cache_each_step else "",
        f"accumulation {steps}",
    ]  # fmt: skip
    return ", ".join(filter(None, words))


def _is_traceable(step: Workload) -> bool:
    """Return whether the installed libraries run a step as the stack's do: PEFT adapts experts without DoRA and
    dropout, and before 0.18 not at all, and Falcon has attention of its own.
    """
    architecture, lora = step.architecture, step.lora
    if architecture.model_type == "falcon" and step.attention is Attention.FLASH:
        return False
    has_experts = any("experts" in key for key in architecture.config)
    if not has_experts or lora is None:
        return True
    return find_stack(step.stack).adapts_fused_experts and not (lora.dora or lora.dropout)
