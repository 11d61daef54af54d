"""A model that is sharded is read by one process of a node: the others hold no copy, and get the very weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from shard_loading_rank import load_in_ranks

from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.plan.memory import STACK
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.model.shard_loading import has_no_values, is_read_once

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
LOADED_SHARE = 0.25
"""What a process may add to its memory of what the whole model takes; a copy adds all of it."""


def shared(plan: Plan, num_processes: int) -> Plan:
    return plan.model_copy(update={"num_processes": num_processes, "sharding": "fsdp2"})


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of a model that is large beside what loading needs for itself."""
    from tiny_phi3 import save_tiny_phi3

    folder = tmp_path_factory.mktemp("wide") / "model"
    save_tiny_phi3(folder, tokenizer, num_layers=8, hidden_size=512)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "lora"), [(2, {"r": 4}), (4, None)], ids=["2, adapters", "4, all weights"])
def test_only_one_process_holds_a_copy_and_all_get_its_very_weights(
    make_plan: MakePlan, wide_model: Path, tmp_path: Path, num_processes: int, lora: dict[str, int] | None
) -> None:
    """The weights are saved in another type, so that loading them copies them; of one type they stay in the file."""
    plan = shared(make_plan(model={"path": str(wide_model), "dtype": "bfloat16"}, lora=lora), num_processes)
    saved = {name: value.bfloat16() for name, value in load_file(wide_model / "model.safetensors").items()}
    limit_bytes = LOADED_SHARE * sum(value.numel() * value.element_size() for value in saved.values())

    first, *others = load_in_ranks(plan, tmp_path / "ranks")

    assert first["loaded_bytes"] > limit_bytes
    assert all(rank["loaded_bytes"] < limit_bytes for rank in others)
    assert all(rank["frozen_on"] == (["meta"] if lora else []) for rank in others)
    whole = {
        name.replace("base_model.model.", "").replace(".base_layer", ""): value
        for name, value in first["whole"].items()
    }
    assert saved.keys() <= whole.keys()
    assert all(torch.equal(whole[name], value.float()) for name, value in saved.items())


@pytest.mark.parametrize(
    ("changes", "is_read"),
    [
        ({}, True),
        ({"lora": None}, True),
        ({"quantization": {"method": "nf4"}}, False),
        ({"lora": {"r": 4, "init_lora_weights": "pissa"}}, False),
    ],
    ids=["adapters", "all weights", "4 bit", "PiSSA"],
)
def test_what_takes_something_from_the_weights_is_loaded_by_every_process(
    make_plan: MakePlan, changes: dict[str, Any], is_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    plan = shared(make_plan(**changes), 2)

    assert is_read_once(plan) is has_no_values(plan) is is_read
    assert not is_read_once(make_plan())


def test_the_estimate_knows_how_the_bundled_runtime_loads() -> None:
    assert sharding_for(SharingRequest("fsdp2"), find_stack(STACK)).ram_efficient_loading
