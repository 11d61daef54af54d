"""The runtime's adapters load where Kaito serves them: what was recorded there is what the runtime writes today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from adapter_cases import CASES, adapted, save_base
from record_adapters import CONTROL

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.catalog.served_adapters import needed_lora_rank, takes_adapters, takes_embeddings, vllm_refusals
from kaitoc.runtime.model.served_adapter import served_config

pytestmark = pytest.mark.runtime
RECORDINGS = Path(__file__).parent / "recordings"
RELEASE = "v0.12"
BY_PEFT = {
    record["case"]: record
    for record in map(json.loads, (RECORDINGS / f"adapters-{RELEASE}.jsonl").read_text().splitlines())
}
BY_VLLM: dict[str, Any] = json.loads((RECORDINGS / "adapters-vllm.json").read_text())
NEEDED_BY_VLLM = {"r", "lora_alpha", "target_modules"}
VERSIONS = sorted(BY_VLLM["versions"])


def test_the_recordings_are_of_the_libraries_of_the_releases() -> None:
    assert {release.vllm for release in all_releases()} == set(VERSIONS)
    assert {release.peft for release in all_releases()} == {record["peft"] for record in BY_PEFT.values()}
    assert BY_PEFT.keys() - {CONTROL} == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_the_peft_of_the_images_computes_with_an_adapter_what_the_runtime_did(case: str, tmp_path: Path) -> None:
    record = BY_PEFT[case]
    architecture, lora = CASES[case]
    save_base(architecture, tmp_path)
    model, plan = adapted(tmp_path, lora, RELEASE)

    written = served_config(model, plan.provenance.kaito_release)

    assert {**written, "base_model_name_or_path": "base"} == record["config"]
    assert record["difference"] <= 1e-5
    assert record["effect"] > 100 * record["difference"]


def test_a_config_of_the_installed_peft_would_not_load_there() -> None:
    assert "unexpected keyword argument" in BY_PEFT[CONTROL]["error"]


@pytest.mark.parametrize("version", VERSIONS)
def test_vllm_refuses_what_the_runtime_says_and_nothing_else(version: str) -> None:
    ranks = BY_VLLM["versions"][version]["choices"]
    for config, (by_default, at_largest) in zip(
        BY_VLLM["configurations"], BY_VLLM["versions"][version]["verdicts"], strict=True
    ):
        if not config.keys() >= NEEDED_BY_VLLM:
            assert "Missing required" in at_largest
            continue
        assert bool(vllm_refusals(config)) == (at_largest is not None), config
        if at_largest is None:
            assert (needed_lora_rank(config) is not None) == (by_default is not None), config
            assert needed_lora_rank(config) in (None, *ranks)


@pytest.mark.parametrize("version", VERSIONS)
def test_vllm_takes_adapters_and_embeddings_where_the_catalog_says(version: str) -> None:
    recorded = {name: record for name, record in BY_VLLM["versions"][version]["models"].items() if record is not None}

    assert {name: takes_adapters(name) for name in recorded} == {
        name: record["supports_lora"] for name, record in recorded.items()
    }
    assert {name for name in recorded if takes_embeddings(name, version)} == {
        name for name, record in recorded.items() if record["embeddings"] == ["embed_tokens", "lm_head"]
    }
    assert all(record["embeddings"] in ([], ["embed_tokens", "lm_head"]) for record in recorded.values())
