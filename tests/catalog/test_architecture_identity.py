"""Architectures are values: models of one name that differ anywhere share no answer."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.catalog.linear_modules import all_linear_targets, linear_modules, match_targets
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.job.memory import needs
from kaitoc.compiler.memory.workload import Lora, Workload

SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 128,
}
FEWER_HEADS = {**SMALL, "num_key_value_heads": 1}


def named_alike(config: dict[str, object]) -> Architecture:
    return from_config("mine", config, num_parameters=1)


def key_features(architecture: Architecture) -> int:
    (module,) = match_targets(architecture, ("k_proj",), fused_experts=True).modules
    return module.out_features


def test_models_of_one_name_with_other_heads_have_other_layers() -> None:
    assert key_features(named_alike(SMALL)) == 64
    assert key_features(named_alike(FEWER_HEADS)) == 16


@pytest.mark.parametrize("fused_experts", [True, False])
def test_every_answer_about_layers_depends_on_the_whole_architecture(fused_experts: bool) -> None:
    one, other = named_alike(SMALL), replace(named_alike(SMALL), model_type="gpt2")

    assert linear_modules(one, fused_experts=fused_experts) != linear_modules(other, fused_experts=fused_experts)
    assert all_linear_targets(one) != all_linear_targets(other)


def test_models_of_one_name_with_other_heads_need_other_memory() -> None:
    first, second = (
        needs(Workload(named_alike(config), Lora(), 4, 128, "kaito-v0.12"), find_gpu("A100-80GB"))
        for config in (SMALL, FEWER_HEADS)
    )

    assert first is not None
    assert second is not None
    assert first.allocated_bytes > second.allocated_bytes


@pytest.mark.parametrize("name", [item.name for item in fields(Architecture)])
def test_a_difference_in_any_field_makes_another_key(name: str) -> None:
    phi = find_model("phi-4-mini-instruct")
    assert phi is not None
    changed = {str: "other", int: 3, bool: not phi.tied_embeddings, tuple: ("other",)}
    value = getattr(phi, name)
    other = replace(phi, **{name: changed.get(type(value), named_alike(SMALL).config)})

    assert len({phi: 1, other: 2}) == 2


def test_equal_architectures_are_one_key() -> None:
    assert len({named_alike(SMALL): 1, named_alike(dict(reversed(SMALL.items()))): 2}) == 1


def test_a_config_that_changes_later_changes_no_architecture() -> None:
    config = dict(SMALL)
    architecture = named_alike(config)

    config["num_key_value_heads"] = 1

    assert architecture == named_alike(SMALL)


def test_a_config_nested_without_end_is_refused() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(ArchitectureError, match=r"mine: config\.json is nested too deeply"):
        from_config("mine", {**SMALL, "deep": nested})
