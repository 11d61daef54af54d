"""Reserved memory of a single step with TRL's chunked loss, the closed form against the real code's own log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from samples import sample

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.batch_shape import BatchShape
from kaitoc.compiler.memory.closed_form import replay
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.script import Script
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Allocator, Dtype, Lora, Loss, Quantization, Workload

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
TOLERANCE = 0.02
MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
SHALLOW = from_config("shallow", {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": 6})
STEP = Workload(SHALLOW, Lora(), 2, 1500, "kaito-v0.12", loss=Loss.CHUNKED)
QLORA = {
    "quantization": Quantization.NF4, "kbit_prep": True, "gradient_checkpointing": True, "autocast": Dtype.BFLOAT16,
}  # fmt: skip
KAITO = {"allocator": Allocator.EXPANDABLE, "empty_cache_each_step": True}
WAYS = {
    "LoRA": {},
    "LoRA, checkpointed": {"gradient_checkpointing": True},
    "LoRA of rank 64 in Kaito's image": {**KAITO, "lora": Lora(rank=64), "gradient_checkpointing": True},
    "QLoRA": QLORA,
    "QLoRA in Kaito's image": {**KAITO, **QLORA},
    "QLoRA in Kaito's image, accumulated": {**KAITO, **QLORA, "accumulates": True},
    "QLoRA, accumulated, rows of several lengths": {**QLORA, "accumulates": True, "is_padded": True},
    "full, checkpointed": {"lora": None, "gradient_checkpointing": True},
    "full in expandable segments": {"lora": None, "allocator": Allocator.EXPANDABLE},
}


@pytest.mark.parametrize("way", sample(WAYS, 4))
def test_reserved_memory_is_that_of_the_real_codes_log(way: str) -> None:
    step = replace(STEP, **WAYS[way])

    assert footprint(step).reserved_bytes == pytest.approx(trace(step).reserved_bytes, rel=TOLERANCE)


@pytest.mark.parametrize("way", ["LoRA", "QLoRA in Kaito's image, accumulated"])
def test_layers_that_are_passed_over_leave_what_they_would_have_left(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Only what they take and give back themselves is left out."""
    step, shapes = replace(STEP, **WAYS[way]), [BatchShape(2, 1500)] * 4
    passed = replay.replay_batches(step, shapes, accumulation_steps=2)
    script_of = replay.script_of

    def without_groups(*arguments: Any, **options: Any) -> Script:
        return replace(script_of(*arguments, **options), going_back=())

    monkeypatch.setattr(replay, "script_of", without_groups)
    whole = replay.replay_batches(step, shapes, accumulation_steps=2)

    assert passed.allocated_bytes == whole.allocated_bytes
    assert passed.reserved_bytes == pytest.approx(whole.reserved_bytes, rel=TOLERANCE)
