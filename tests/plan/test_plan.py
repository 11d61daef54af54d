"""The plan as a document: what it refuses, and how it says so."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from kaitoc.compiler.plan.plan import PLAN_VERSION, Plan, PlanError, read_plan
from kaitoc.schemas import read_json

MINIMAL: dict[str, Any] = {
    "version": 1,
    "name": "tune",
    "model": {"path": "/weights"},
    "lora": {},
    "data": {"paths": ["/data"]},
    "output": {"path": "/out"},
    "provenance": {"kaitoc_version": "0"},
}


def plan_text(**changes: Any) -> str:
    return json.dumps({**MINIMAL, **changes})


def test_a_plan_reads_back_as_it_was_written() -> None:
    plan = read_plan(plan_text(quantization={"method": "nf4"}))

    assert read_plan(plan.to_json()) == plan
    assert json.loads(plan.to_json())["version"] == PLAN_VERSION


def test_the_schema_accepts_what_plans_write() -> None:
    jsonschema.validate(json.loads(read_plan(plan_text()).to_json()), read_json("plan"))


@pytest.mark.parametrize(
    ("changes", "method"),
    [({}, "lora"), ({"quantization": {"method": "nf4"}}, "qlora"), ({"lora": None}, "full")],
)
def test_the_method_follows_from_adapter_and_quantization(changes: dict[str, Any], method: str) -> None:
    assert read_plan(plan_text(**changes)).method == method


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_version_is_named(version: object) -> None:
    with pytest.raises(PlanError, match=r"p\.json: plan version .* is not supported; this kaitoc reads version 1"):
        read_plan(plan_text(version=version), "p.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surprise": 1}, "`surprise`: unknown key"),
        ({"model": {"path": "/w", "trust_remote_code": True}}, "model.trust_remote_code"),
        ({"lora": {"r": 0}}, "lora.r"),
        ({"lora": {"lora_dropout": 1}}, "lora.lora_dropout"),
        ({"data": {"paths": ["/d"], "train_fraction": 0}}, "data.train_fraction"),
        ({"data": {"paths": ["/d"], "max_length": 0}}, "data.max_length"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"training": {"num_train_epochs": 0}}, "training.num_train_epochs"),
        ({"training": {"bf16": True, "fp16": True}}, "are mutually exclusive"),
        ({"lora": None, "quantization": {"method": "int8"}}, "quantized weights cannot be trained"),
    ],
)
def test_what_no_run_can_have_is_named_by_its_field(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan(plan_text(**changes))

    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000])
def test_a_text_that_is_no_plan_is_refused_in_words(text: str) -> None:
    with pytest.raises(PlanError, match=r"p\.json: "):
        read_plan(text, "p.json")


def test_a_plan_cannot_be_changed() -> None:
    plan = read_plan(plan_text())

    with pytest.raises(ValueError, match="frozen"):
        Plan.__setattr__(plan, "name", "other")
