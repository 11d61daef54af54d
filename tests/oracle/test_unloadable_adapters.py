"""A server and the run that trains its adapter, judged as the release's vLLM judged such adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaitoc.compiler.catalog.releases import all_releases
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiling import request_for

ORACLE = Path(__file__).parent
BY_VLLM: dict[str, Any] = json.loads((ORACLE / "recordings" / "adapters-vllm.json").read_text(encoding="utf-8"))
PAGE = (ORACLE.parents[1] / "rules" / "unloadable_adapter.md").read_text(encoding="utf-8")
MANIFEST = PAGE.partition("```yaml\n")[2].partition("```")[0]
WRITTEN_BY_A_RUN = {"r", "lora_alpha", "target_modules", "bias", "use_dora", "modules_to_save"}
NEEDED = {"r", "lora_alpha", "target_modules"}


def manifest_with(config: dict[str, Any]) -> str:
    """Return the page's example with another adapter."""
    before, _, after = MANIFEST.partition("        r: 64\n")
    lines = "".join(f"        {key}: {json.dumps(value)}\n" for key, value in config.items())
    return before + lines + after[after.index("      TrainingArguments") :]


@pytest.mark.parametrize("release", [release.name for release in all_releases()])
def test_what_vllm_refused_is_an_error_and_nothing_else(release: str) -> None:
    (vllm,) = (one.vllm for one in all_releases() if one.name == release)
    verdicts = BY_VLLM["versions"][vllm]["verdicts"]
    judged = 0
    for config, (by_default, _) in zip(BY_VLLM["configurations"], verdicts, strict=True):
        if not NEEDED <= config.keys() <= WRITTEN_BY_A_RUN:
            continue
        engine = Engine(all_rules(), Overrides(kaito_version=release), SettingsFinder(isolated=True))
        engine.library.add_source(Source("in.yaml", manifest_with(config)))
        found = {one.code for one in engine.check(["in.yaml"]).findings}
        assert ("KT732" in found) == (by_default is not None), config
        judged += 1
    assert judged >= 8


def test_compile_writes_the_rank_that_the_run_trains() -> None:
    request = request_for(Overrides(kaito_version="v0.12"), settings=SettingsFinder(isolated=True))

    text = compile_files(["in.yaml"], request, [Source("in.yaml", MANIFEST)]).files[0].text

    assert "max-lora-rank: 64" in text


def test_an_adapter_of_another_image_is_not_judged() -> None:
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True))
    other = MANIFEST.replace("image: registry.example.com/adapters:v1 #", "image: registry.example.com/adapters:v2 #")
    engine.library.add_source(Source("in.yaml", other))

    assert "KT732" not in {one.code for one in engine.check(["in.yaml"]).findings}


def codes_of(**texts: str) -> set[str]:
    """Return the codes of one check of several files, named without their suffix."""
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True))
    for name, text in texts.items():
        engine.library.add_source(Source(f"{name}.yaml", text))
    return {one.code for one in engine.check([f"{name}.yaml" for name in texts]).findings}


def parts() -> tuple[str, str]:
    """Return the page's tuning objects and its serving ones."""
    documents = MANIFEST.split("---\n")
    return "---\n".join(documents[:2]), "---\n".join(documents[2:])


def test_the_run_may_stand_in_another_file_of_the_call() -> None:
    tuning, serving = parts()

    assert "KT732" in codes_of(tuning=tuning, serving=serving)
    assert "KT732" not in codes_of(serving=serving)


def test_a_volume_claim_joins_a_run_and_a_server_too() -> None:
    tuning, serving = parts()
    claim = "volumeSource: {persistentVolumeClaim: {claimName: adapters}}"
    tuning = tuning.replace('image: "registry.example.com/adapters:v1", imagePushSecret: push', claim)
    by_claim = serving.replace("image: registry.example.com/adapters:v1 #", f"{claim} #")
    assert claim in tuning
    assert claim in by_claim

    assert "KT732" in codes_of(tuning=tuning, serving=by_claim)
    assert "KT732" not in codes_of(tuning=tuning.replace("adapters}", "others}"), serving=by_claim)
