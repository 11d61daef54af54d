"""The replay of differing batches against the log of the real code running the same batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from samples import sample

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.batches import Loading, assumed_lengths, batches
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.replay import replay_batches
from kaitoc.compiler.memory.trace.run import trace, trace_batches
from kaitoc.compiler.memory.workload import Allocator, Attention, Dtype, Lora, Loss, Quantization, Workload

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
TOLERANCE = 0.01
MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
SHALLOW = from_config("shallow", {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": 3})
STEP = Workload(SHALLOW, Lora(), batch_size=4, seq_len_tokens=1024, stack="transformers-5", is_padded=True)
SHAPES = batches(assumed_lengths(200, 600, 1024, 1024, 64), Loading(), 4, seed=1, num_batches=5)
QLORA = {"quantization": Quantization.NF4, "kbit_prep": True, "gradient_checkpointing": True}
CHUNKS = {"loss": Loss.CHUNKED, "stack": "trl-1.12"}
FLOAT32 = {"lora": None, "dtype": Dtype.FLOAT32, "autocast": Dtype.BFLOAT16}
WAYS = {
    "LoRA": {},
    "LoRA in expandable segments": {"allocator": Allocator.EXPANDABLE},
    "checkpointed, cache emptied": {
        "gradient_checkpointing": True, "allocator": Allocator.EXPANDABLE, "empty_cache_each_step": True,
    },
    "QLoRA with a fused loss": {**QLORA, "loss": Loss.FUSED, "allocator": Allocator.EXPANDABLE},
    "LoRA with a fused loss": {"loss": Loss.FUSED, "gradient_checkpointing": True},
    "checkpointed QLoRA with a fused loss": {**QLORA, "loss": Loss.FUSED},
    "full": {"lora": None},
    "full with a fused loss": {"lora": None, "loss": Loss.FUSED, "gradient_checkpointing": True},
    "full with Liger's loss": {"lora": None, "loss": Loss.LIGER},
    "checkpointed LoRA with Liger's loss": {"loss": Loss.LIGER, "gradient_checkpointing": True},
    "TRL's chunks": {**CHUNKS, "gradient_checkpointing": True},
    "TRL's chunks without checkpoints": CHUNKS,
    "TRL's chunks, full": {**CHUNKS, "lora": None},
    "TRL's chunks, full in expandable segments": {**CHUNKS, "lora": None, "allocator": Allocator.EXPANDABLE},
    "8-bit LoRA": {"quantization": Quantization.INT8, "autocast": Dtype.BFLOAT16},
    "8-bit LoRA, checkpointed": {"quantization": Quantization.INT8, "gradient_checkpointing": True},
    "full in float32 with a fused loss": {**FLOAT32, "loss": Loss.FUSED},
    "full in float32 with a fused loss, checkpointed": {**FLOAT32, "loss": Loss.FUSED, "gradient_checkpointing": True},
    "outputs held": {"holds_outputs": True},
    "outputs held, checkpointed": {"holds_outputs": True, "gradient_checkpointing": True},
}  # fmt: skip


@pytest.mark.parametrize("way", sample(WAYS, 8))
def test_the_replay_agrees_with_the_log_of_the_same_batches(way: str) -> None:
    step = replace(STEP, **WAYS[way])
    logged, replayed = trace_batches(step, SHAPES), replay_batches(step, SHAPES)

    assert replayed.allocated_bytes == pytest.approx(logged.allocated_bytes, rel=TOLERANCE)
    assert replayed.reserved_bytes == pytest.approx(logged.reserved_bytes, rel=TOLERANCE)


EXPANDABLE_8BIT = {
    "quantization": Quantization.INT8, "gradient_checkpointing": True, "allocator": Allocator.EXPANDABLE,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("qwen2.5-0.5b", {"holds_outputs": True, "gradient_checkpointing": True, "allocator": Allocator.EXPANDABLE}),
        ("phi-3-mini-4k-instruct", {**EXPANDABLE_8BIT, "holds_outputs": True}),
        ("smollm2-360m", {"attention": Attention.EAGER, "gradient_checkpointing": True}),
        ("qwen3-0.6b", {"lora": Lora(16, dropout=0.05), "allocator": Allocator.EXPANDABLE}),
        ("powerlm-3b", QLORA),
    ],
    ids=["leaf of a held graph", "contexts of a held graph", "eager weights", "norms of heads", "Granite's residuals"],
)
def test_what_the_library_holds_on_to_is_there_as_long(model: str, change: dict[str, Any]) -> None:
    found = find_model(model)
    assert found is not None
    config = {**found.config, "model_type": found.model_type, "num_hidden_layers": 3}
    config["layer_types"] = list(config.get("layer_types", ()))[:3] or None  # type: ignore[call-overload]  # a list
    step = replace(
        STEP, architecture=from_config("shallow", {k: v for k, v in config.items() if v is not None}), **change
    )
    logged, replayed = trace_batches(step, SHAPES), replay_batches(step, SHAPES)

    assert replayed.allocated_bytes == pytest.approx(logged.allocated_bytes, rel=TOLERANCE)
    assert replayed.reserved_bytes == pytest.approx(logged.reserved_bytes, rel=TOLERANCE)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lora": None, "loss": Loss.LIGER, "gradient_checkpointing": True},
        {"lora": None, **CHUNKS, "gradient_checkpointing": True, "allocator": Allocator.EXPANDABLE},
        {"lora": None, "allocator": Allocator.EXPANDABLE},
        {"gradient_checkpointing": True, "empty_cache_each_step": True},
    ],
    ids=["LoRA", "full with Liger's loss", "full with TRL's chunks", "full with all logits", "cache emptied"],
)
def test_it_agrees_over_an_accumulation(change: dict[str, Any]) -> None:
    """The gradient of a tied head waits for that of the embedding before it is added up."""
    step = replace(STEP, **change)
    logged, replayed = (run(step, SHAPES, accumulation_steps=3) for run in (trace_batches, replay_batches))

    assert replayed.allocated_bytes == pytest.approx(logged.allocated_bytes, rel=TOLERANCE)
    assert replayed.reserved_bytes == pytest.approx(logged.reserved_bytes, rel=TOLERANCE)


def test_gradients_that_come_back_by_head_are_copied_and_lie_elsewhere_then() -> None:
    """Without it the gradient of the embedding finds a gap of its size, and 10 % less is reserved."""
    step = replace(STEP, lora=None, loss=Loss.LIGER, allocator=Allocator.EXPANDABLE)
    shapes = batches(assumed_lengths(200, 600, 1024, 1024, 64), Loading(), 4, seed=2, num_batches=6)
    logged, replayed = (run(step, shapes, accumulation_steps=3) for run in (trace_batches, replay_batches))

    assert replayed.reserved_bytes == logged.reserved_bytes


@pytest.mark.parametrize("checkpointing", [False, True])
def test_both_engines_agree_on_outputs_that_the_loop_holds(checkpointing: bool) -> None:
    step = replace(STEP, seq_len_tokens=512, holds_outputs=True, gradient_checkpointing=checkpointing)

    for found, derived in zip(trace(step).phases, footprint(step).phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=0.01), found.phase
