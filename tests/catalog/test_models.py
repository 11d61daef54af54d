"""Models: found by every name, exact to the parameter, and their layers are those of the real classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.linear_modules import all_linear_targets, linear_modules, match_targets
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import all_models, find_model, suggest_models
from kaitoc.compiler.catalog.parameter_count import count_parameters
from kaitoc.schemas import ROOT
from kaitoc.schemas.generate.parameter_counts import rendered_models

MODELS = all_models()


def model_id(model: Architecture) -> str:
    return model.name


@pytest.mark.parametrize("model", MODELS, ids=model_id)
def test_parameters_counted_from_shapes_are_those_of_the_catalog(model: Architecture) -> None:
    assert count_parameters(model) == model.num_parameters


def test_the_catalog_of_models_is_the_one_that_its_generator_writes() -> None:
    assert Path(ROOT, "catalog", "models.json").read_text(encoding="utf-8") == rendered_models(), "run `make schemas`"


@pytest.mark.slow
@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS, ids=model_id)
def test_parameters_and_layers_are_those_of_transformers(model: Architecture) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(model.config)
    with torch.device("meta"):
        real = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))

    assert real.num_parameters() == model.num_parameters
    shapes = {name.removesuffix(".weight"): tuple(tensor.shape) for name, tensor in real.named_parameters()}
    for module in linear_modules(model, fused_experts=True):
        if module.reachable and module.path in shapes:
            assert sorted(shapes[module.path]) == sorted((module.in_features, module.out_features))
        elif module.reachable:
            assert module.is_head, f"{module.path} is not in the real model"
            assert model.tied_embeddings


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("phi-3-mini-128k-instruct", "phi-3-mini-128k-instruct"),
        ("microsoft/Phi-3-mini-128k-instruct", "phi-3-mini-128k-instruct"),
        ("MICROSOFT/phi-4", "phi-4"),
        ("mistral-7b-v0.3", "mistral-7b"),
        ("meta-llama/Llama-3.2-3B", "llama-3.2-3b"),
    ],
)
def test_a_model_is_found_by_preset_hub_id_and_alias_in_any_case(name: str, found: str) -> None:
    model = find_model(name)

    assert model is not None
    assert model.name == found


def test_an_unknown_name_has_close_suggestions() -> None:
    assert find_model("phi3-mini") is None
    assert any(name.startswith("phi-3") for name in suggest_models("phi3-mini-4k"))


def test_no_two_models_share_a_name() -> None:
    names = [name.lower() for model in MODELS for name in {model.name, model.hf_id, *model.aliases}]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("targets", "trained"),
    [(("o_proj",), 1_572_864), (("o_proj", "down_proj"), 4_456_448), (("all-linear",), 12_582_912)],
)
def test_trainable_parameters_of_phi_3_mini_at_rank_8(targets: tuple[str, ...], trained: int) -> None:
    model = find_model("phi-3-mini-4k-instruct")
    assert model is not None

    assert match_targets(model, targets, fused_experts=True).num_lora_parameters(8) == trained


@pytest.mark.runtime
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["phi-4-mini-instruct", "qwen2.5-0.5b", "gpt2", "pythia-410m", "gemma-2-2b"])
def test_trainable_parameters_are_those_of_peft(name: str) -> None:
    torch = pytest.importorskip("torch")
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    model = find_model(name)
    assert model is not None
    targets = all_linear_targets(model)
    config = dict(model.config)
    with torch.device("meta"):
        real = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
        adapted = get_peft_model(real, LoraConfig(r=8, target_modules=list(targets)))

    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert match_targets(model, targets, fused_experts=True).num_lora_parameters(8) == trained


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": 4097}, "cannot be split into 32 heads"),
        ({"num_key_value_heads": 5}, "cannot share 5 key heads"),
        ({"model_type": "lama"}, "nearest known is `llama`"),
        ({"num_hidden_layers": 0}, "must be at least 1"),
        ({"vocab_size": None}, "has no `vocab_size`"),
    ],
)
def test_a_config_that_no_model_can_have_is_an_error(change: dict[str, object], words: str) -> None:
    model = find_model("llama-3-8b")
    assert model is not None

    with pytest.raises(ArchitectureError, match=words):
        from_config("x", {**model.config, **change})


def test_the_text_part_of_a_multimodal_config_is_taken() -> None:
    model = find_model("gemma-3-4b-instruct")
    assert model is not None

    assert from_config("x", {"model_type": "gemma3", "text_config": model.config}).hidden_size == 2560
