"""The closed form's saved tensors against the real model's, family by family."""

from __future__ import annotations

import dataclasses

import pytest
from samples import covering

from kaitoc.compiler.catalog.families import Family, find_family, known_model_types
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.footprint import saved_bytes
from kaitoc.compiler.memory.workload import Attention, Lora, Workload
from kaitoc.schemas import read_json

pytestmark = [pytest.mark.no_cover, pytest.mark.slow]
BATCH, TOKENS = 2, 64
COMMON = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
GPT2 = {"n_embd": 256, "n_layer": 4, "n_head": 8, "vocab_size": 1000, "n_positions": 512}
NO_DROPOUT = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
EXPERTS = {"moe_intermediate_size": 96, "num_experts": 8, "num_experts_per_tok": 2}
CONFIGS: dict[str, dict[str, object]] = {
    "llama": GROUPED,
    "mistral": {**GROUPED, "head_dim": 32},
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 32},
    "granite": GROUPED,
    "phi3": {**GROUPED, "pad_token_id": 0},
    "phi": COMMON,
    "gemma": {**GROUPED, "head_dim": 32},
    "gemma2": {**GROUPED, "head_dim": 32},
    "gemma3_text": {**GROUPED, "head_dim": 32},
    "starcoder2": {**GROUPED, "residual_dropout": 0.0, "embedding_dropout": 0.0},
    "falcon": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "vocab_size": 1000,
        "bias": False,
        "parallel_attn": True,
        "alibi": False,
        "multi_query": True,
    },
    "gpt_neox": COMMON,
    "gpt2": {**GPT2, **NO_DROPOUT},
    "gpt_bigcode": {**GPT2, **NO_DROPOUT},
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "qwen2_moe": {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 128},
    "qwen3_moe": {**GROUPED, **EXPERTS, "head_dim": 32},
}
TOLERANCE = {"falcon": 0.03, "mixtral": 0.015, "qwen3_moe": 0.03}
"""Falcon's eager products copy broadcast keys depending on strides; adapters on fused experts keep small factors."""


def test_the_catalog_has_only_fields_of_the_dataclass() -> None:
    names = {field.name for field in dataclasses.fields(Family)} | {"like"}
    for entry in read_json("catalog/families")["families"].values():
        assert set(entry) <= names
    assert all(isinstance(find_family(model_type), Family) for model_type in known_model_types())


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("model_type", "attention", "adapts"),
    covering(list(CONFIGS), [Attention.EAGER, Attention.SDPA], [True, False]),
)
@pytest.mark.filterwarnings("ignore")
def test_the_closed_form_saves_what_the_real_model_saves(model_type: str, attention: Attention, adapts: bool) -> None:
    pytest.importorskip("torch")
    if model_type == "gemma2" and attention is Attention.SDPA:
        attention = Attention.EAGER
    config, real_bytes = _real_saved_bytes(model_type, attention.value, adapts)
    architecture = from_config(f"tiny-{model_type}-{adapts}", config)
    lora = Lora(rank=4) if adapts else None
    workload = Workload(architecture, lora, BATCH, TOKENS, "transformers-5", attention=attention)
    assert saved_bytes(workload) == pytest.approx(real_bytes, rel=TOLERANCE.get(model_type, 0.01))


def _real_saved_bytes(model_type: str, attention: str, adapts: bool) -> tuple[dict[str, object], int]:
    """Return the model's whole configuration and the bytes of all storages that its forward pass saves."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **CONFIGS[model_type])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    if adapts:
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    model.train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    tokens = torch.randint(0, 1000, (BATCH, TOKENS), generator=torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    assert loss is not None
    return config.to_dict(), sum(storage.nbytes() for storage in saved.values())
