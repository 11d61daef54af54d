"""TRL's chunked loss by version, the closed form against the real code on meta tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Dtype, Lora, Loss, Quantization, Workload

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
MODEL = find_model("qwen2.5-0.5b")
assert MODEL is not None
SHALLOW = from_config("shallow", {**MODEL.config, "model_type": MODEL.model_type, "num_hidden_layers": 2})
STEP = Workload(SHALLOW, Lora(), 1, 300, "trl-1.13", gradient_checkpointing=True, loss=Loss.CHUNKED)
WAYS = {
    "half": {},
    "half under autocast": {"autocast": Dtype.BFLOAT16},
    "head in float32 under autocast": {
        "quantization": Quantization.NF4, "kbit_prep": True, "autocast": Dtype.BFLOAT16,
    },
    "trained head": {"lora": None},
}  # fmt: skip


@pytest.mark.parametrize("stack", ["trl-1.12", "trl-1.13"])
@pytest.mark.parametrize("way", WAYS)
def test_both_engines_agree_on_what_a_chunk_widens(way: str, stack: str) -> None:
    step = replace(STEP, stack=stack, **WAYS[way])

    for found, derived in zip(trace(step).phases, footprint(step).phases, strict=True):
        assert derived.allocated_bytes == pytest.approx(found.allocated_bytes, rel=0.02), found.phase


def test_the_head_is_widened_up_to_1_12_only() -> None:
    wide, narrow = (footprint(replace(STEP, stack=stack)).allocated_bytes for stack in ("trl-1.12", "trl-1.13"))

    assert wide - narrow > SHALLOW.vocab_size * SHALLOW.hidden_size * 3
