"""Mechanisms of attention, dropout and autograd, each held to the real code where it decides on the peak."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import phase_peaks
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Workload

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.no_cover]
TOLERANCE = 0.007
HALF, SINGLE = Dtype.BFLOAT16, Dtype.FLOAT32
FALCON = {"hidden_size": 512, "num_attention_heads": 16, "num_kv_heads": 4, "num_hidden_layers": 4, "vocab_size": 1024}
PHI = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16,
       "num_key_value_heads": 16, "vocab_size": 1024}  # fmt: skip
DORA = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 3, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 1024}  # fmt: skip
STARCODER = {**PHI, "num_key_value_heads": 2}


def step(name: str, sizes: dict[str, object], **changes: object) -> Workload:
    """Return an adapter's step of a catalog model of other sizes."""
    model = find_model(name)
    assert model is not None
    narrow = from_config(name, {**model.config, "model_type": model.model_type, **sizes})
    settings = {"lora": Lora(rank=16), "batch_size": 2, "seq_len_tokens": 1024, "stack": "transformers-5"}
    return Workload(narrow, **{**settings, **changes})  # type: ignore[arg-type]  # keyword arguments


CASES = {
    "Falcon's eager softmax has the type of what its layer norm returns": step(
        "falcon-40b", FALCON, attention=Attention.EAGER, autocast=HALF
    ),
    "Falcon's eager attention scales in place": step("falcon-40b", FALCON, attention=Attention.EAGER),
    "Falcon drops out no attention weights but the sum of a layer": step(
        "falcon-40b", {**FALCON, "attention_dropout": 0.1, "hidden_dropout": 0.1}, attention=Attention.EAGER
    ),
    "a float32 mask widens eager scores": step(
        "falcon-40b", FALCON, attention=Attention.EAGER, autocast=HALF, dtype=SINGLE, gradient_checkpointing=True
    ),
    "both of parallel blocks drop out": step("phi-2", {**PHI, "resid_pdrop": 0.1}, autocast=HALF),
    "Gemma drops out nothing of what its configuration does not know": step(
        "gemma-7b", {**PHI, "head_dim": 32, "hidden_dropout": 0.1}, autocast=HALF
    ),
    "a checkpoint is computed again beside a gradient of the layer's adapter": step(
        "starcoder2-3b", STARCODER, gradient_checkpointing=True
    ),
    "gradients of a layer and an adapter of its type add up to a third tensor": step(
        "starcoder2-3b", STARCODER, gradient_checkpointing=True, dtype=SINGLE
    ),
    "the gradient of a narrow factor is wide at first": step(
        "gpt2", {"n_embd": 384, "n_layer": 3, "n_head": 8, "vocab_size": 1024}, gradient_checkpointing=True,
        autocast=HALF,
    ),
    "DoRA with dropout computes the base layer's result again": step(
        "llama-3.1-8b-instruct", DORA, lora=Lora(rank=16, dora=True, dropout=0.1), gradient_checkpointing=True
    ),
    "autocast narrows the weight that DoRA computes it with": step(
        "llama-3.1-8b-instruct", DORA, lora=Lora(rank=16, dora=True, dropout=0.1), autocast=HALF
    ),
    "DoRA takes the bias off the base layer's result": step(
        "starcoder2-3b", DORA, lora=Lora(rank=16, dora=True), gradient_checkpointing=True, dtype=SINGLE
    ),
}  # fmt: skip


@pytest.mark.parametrize("asked", CASES.values(), ids=CASES)
def test_a_mechanism_takes_what_the_library_takes(asked: Workload) -> None:
    traced = max(phase.allocated_bytes for phase in trace(asked).phases)

    assert max(phase.allocated_bytes for phase in phase_peaks(asked)) == pytest.approx(traced, rel=TOLERANCE)
