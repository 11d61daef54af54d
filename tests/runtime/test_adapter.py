"""An adapter goes on what the plan names and on nothing else, and a run says before training who cannot serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from architecture_runs import train
from pydantic import ValidationError
from safetensors.torch import load_file
from short_plan import short_plan
from tiny_architectures import save_tiny, tiny_config
from transformers import AutoModelForCausalLM
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

from kaitoc.compiler.plan.plan import LoraPlan, Plan
from kaitoc.runtime.failures import ModelFailure
from kaitoc.runtime.launch.ready import RunOptions, build_model
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.adapter import adapt
from kaitoc.runtime.model.trained_modules import trainable_by_module
from kaitoc.runtime.output.adapter import save
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = [pytest.mark.runtime, pytest.mark.usefixtures("_quiet")]
CPU = RunOptions("cpu", show_progress=False)
EXPERTS = ("w1", "w2", "w3")


@pytest.fixture
def _quiet() -> Iterator[None]:
    with quiet_libraries():
        yield


def plan_of(release: str = "", **lora: Any) -> Plan:
    provenance = {"kaitoc_version": "test", "kaito_release": release}
    return short_plan(Path("none"), Path("none"), Path("none"), lora=lora, provenance=provenance)


def adapted(name: str, release: str = "", **lora: Any) -> Any:
    torch.manual_seed(0)
    plan = plan_of(release, **lora)
    assert plan.lora is not None
    return adapt(AutoModelForCausalLM.from_config(tiny_config(name, 64)), plan, plan.lora)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "deepseek_v3", "qwen2_moe", "gpt_oss"])
def test_experts_and_routers_are_not_adapted_when_nobody_named_them(name: str) -> None:
    trained = trainable_by_module(adapted(name))

    assert not {"gate", "router", "gate_up_proj"} & trained.keys()
    assert {"o_proj"} <= trained.keys()


def test_a_router_that_is_a_linear_layer_is_not_adapted_either() -> None:
    model = AutoModelForCausalLM.from_config(tiny_config("llama", 64))
    block = model.model.layers[0].mlp
    block.gate, block.experts = torch.nn.Linear(64, 4), torch.nn.ModuleList([torch.nn.Linear(64, 64)])

    trained = {name for name, value in adapt(model, plan_of(), LoraPlan()).named_parameters() if value.requires_grad}

    assert any("layers.0.mlp.experts.0.lora_A" in name for name in trained)
    assert not any("mlp.gate." in name for name in trained)


def test_experts_that_are_named_are_adapted_and_reported_by_their_names() -> None:
    assert trainable_by_module(adapted("mixtral", target_modules=EXPERTS)).keys() == {"gate_up_proj", "down_proj"}


def test_experts_are_refused_where_the_images_could_not_load_them() -> None:
    with pytest.raises(
        ModelFailure, match=r"`target_parameters`, which the PEFT 0\.11\.1 of Kaito v0\.12 does not know"
    ):
        adapted("mixtral", "v0.12", target_modules=EXPERTS)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ("embed_tokens",), "use_dora": True}, "no DoRA for embeddings: leave `model.embed_tokens`"),
        ({"target_modules": ("scaled", "q_proj")}, "leaves the scale of the model's embeddings out"),
        ({"target_modules": ("conv", "q_proj")}, "no adapter for a Conv1d: leave `model.layers.0.mlp.conv` out"),
    ],
)
def test_layers_are_refused_that_the_images_cannot_adapt(lora: dict[str, Any], message: str) -> None:
    """The installed PEFT trains them all."""
    model = AutoModelForCausalLM.from_config(tiny_config("llama", 64))
    model.model.layers[0].mlp.conv = torch.nn.Conv1d(64, 64, 1)
    model.model.layers[0].mlp.scaled = Gemma3TextScaledWordEmbedding(64, 64, 0, embed_scale=8.0)

    adapt(model, plan_of(**lora), LoraPlan(**lora))
    with pytest.raises(ModelFailure, match=message):
        adapt(model, plan_of("v0.12", **lora), LoraPlan(**lora))


@pytest.mark.parametrize(
    ("lora", "needed"),
    [
        ({"layers_to_transform": (1,)}, "target_modules"),
        ({"layers_pattern": ("layers",)}, "target_modules"),
        ({"layers_pattern": ("layers",), "target_modules": ("q_proj",)}, "layers_to_transform"),
    ],
)
def test_layers_are_those_of_modules_that_are_named(lora: dict[str, Any], needed: str) -> None:
    with pytest.raises(ValidationError, match=f"needs `{needed}`"):
        LoraPlan(**lora)


def test_a_module_that_is_trained_in_full_is_reported_by_its_name() -> None:
    assert "lm_head" in trainable_by_module(adapted("phi3", modules_to_save=("lm_head",)))


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"use_dora": True}, "the vLLM 0.25.1 of Kaito v0.12 will refuse it: it does not support DoRA"),
        ({"modules_to_save": ("lm_head",)}, "modules that are trained in full (`modules_to_save`)"),
        ({"bias": "all"}, "it takes no trained biases"),
        ({"r": 40}, "rank 40 needs `max-lora-rank: 64`"),
        ({"r": 600}, "it takes no rank above 512"),
        ({"r": 8, "rank_pattern": {"o_proj": 4}}, "scales all modules by `lora_alpha` / `r`"),
    ],
)
def test_a_run_says_what_the_vllm_of_its_release_refuses(
    lora: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted("phi3", "v0.12", **lora)

    assert told in capsys.readouterr().err


def test_a_run_says_nothing_of_an_adapter_that_any_server_takes(capsys: pytest.CaptureFixture[str]) -> None:
    adapted("phi3", "v0.12", rank_pattern={"o_proj": 4}, alpha_pattern={"o_proj": 4}, r=8)

    assert "adapter:" not in capsys.readouterr().err


@pytest.mark.parametrize(("name", "stays"), [("falcon", "query_key_value, dense"), ("phi3", "")])
def test_weights_that_are_not_quantized_although_the_plan_says_so_are_named(
    name: str, stays: str, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(name, tmp_path, tokenizer)
    plan = short_plan(tmp_path, tmp_path, tmp_path, quantization={"method": "nf4", "compute_dtype": "float32"})
    build_model(plan, "cpu", tokenizer)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("quantization:")]

    assert [line.partition(" stay")[0] for line in told] == (
        [f"quantization: {stays}, dense_h_to_4h, dense_4h_to_h"] if stays else []
    )


def test_a_pissa_adapter_is_saved_as_one_for_the_base_model_that_others_have(
    tiny_model: Path, chat_data: Path, tmp_path: Path
) -> None:
    trained = train("lora", tiny_model, chat_data, tmp_path, lora={"init_lora_weights": "pissa"})
    config = json.loads((trained.folder / "adapter_config.json").read_text())

    assert torch.allclose(trained.after, trained.reloaded, atol=1e-4)
    assert not torch.allclose(trained.before, trained.after, atol=1e-2)
    assert (config["r"], config["init_lora_weights"]) == (8, True)


def test_the_embeddings_of_a_mixture_take_an_adapter_that_reads_back(tokenizer: Any, tmp_path: Path) -> None:
    save_tiny("granitemoe", tmp_path / "base", tokenizer)
    lora = LoraPlan(target_modules=("embed_tokens", "q_proj"))
    plan = short_plan(tmp_path / "base", tmp_path, tmp_path / "results", lora=lora.model_dump())
    model = adapt(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), plan, lora)

    saved = load_file(save(model, tokenizer, plan) / "adapter_model.safetensors")

    assert any("lora_embedding_A" in name for name in saved)


def test_a_pissa_run_goes_on_from_its_checkpoint(tiny_model: Path, chat_data: Path, tmp_path: Path) -> None:
    training = {"save_strategy": "steps", "save_steps": 4}
    lora = {"init_lora_weights": "pissa_niter_4"}
    plan = short_plan(tiny_model, chat_data, tmp_path, lora=lora, training=training)
    file = Path(run_plan(plan, CPU).adapter_folder) / "adapter_model.safetensors"
    expected = load_file(file)
    (tmp_path / COMPLETED).unlink()
    file.unlink()

    run_plan(plan, replace(CPU, resume=True))

    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in load_file(file).items())


@pytest.mark.parametrize("changes", [{"quantization": {"method": "nf4"}}, {"lora": {"use_dora": True}}])
def test_pissa_is_refused_where_there_is_no_weight_to_take_it_from(changes: dict[str, Any]) -> None:
    lora = {"init_lora_weights": "pissa", **changes.pop("lora", {})}

    with pytest.raises(ValidationError, match="PiSSA takes its adapter from unquantized weights"):
        short_plan(Path("none"), Path("none"), Path("none"), lora=lora, **changes)
