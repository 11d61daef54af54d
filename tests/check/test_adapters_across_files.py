"""A server and the run that trains its adapter, in two files: found whichever is read first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.manifest.reading import read_manifests

MODEL, IMAGE = "qwen2.5-coder-7b-instruct", "registry.example.com/chat:1"
SERVER = f"""apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: server}}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {{matchLabels: {{app: server}}}}
inference:
  preset: {{name: {MODEL}}}
  adapters:
  - source: {{name: chat, image: "{IMAGE}"}}
  config: serving
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: serving}}
data:
  inference_config.yaml: |
    vllm:
      max-lora-rank: LEAST
"""
TRAINER = f"""apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: tune}}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {{matchLabels: {{app: tune}}}}
tuning:
  preset: {{name: {MODEL}}}
  method: lora
  config: settings
  input: {{urls: ["https://example.com/data.parquet"]}}
  output: {{image: "{IMAGE}", imagePushSecret: push}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data:
  training_config.yaml: |
    training_config:
      LoraConfig: {{r: 64, target_modules: [q_proj, v_proj]}}
"""


def codes(folder: Path, *texts: str) -> set[str]:
    paths = [folder / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True), select=("KT731", "KT732"))
    return {one.code for one in engine.check(map(str, paths)).findings}


@pytest.mark.parametrize(("least", "found"), [("16", {"KT732"}), ("64", set())])
def test_the_server_is_judged_whichever_file_comes_first(tmp_path: Path, least: str, found: set[str]) -> None:
    server = SERVER.replace("LEAST", least)

    assert codes(tmp_path, server, TRAINER) == found
    assert codes(tmp_path, TRAINER, server) == found


def test_a_run_whose_adapter_nothing_at_hand_serves_is_told_what_a_server_needs(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()

    assert codes(alone, TRAINER) == {"KT731"}
    assert codes(tmp_path, TRAINER, SERVER.replace(IMAGE, "registry.example.com/other:1")) == {"KT731"}


def test_runs_that_write_to_one_place_are_read_and_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()

    def counted(source: Source) -> ManifestFile:
        read[source.path] += 1
        return read_manifests(source)

    monkeypatch.setattr("kaitoc.compiler.job.file_store.read_manifests", counted)
    engine = Engine(all_rules(), Overrides(), SettingsFinder(isolated=True))
    paths = [str(tmp_path / f"{number}.yaml") for number in range(20)]
    for number, path in enumerate(paths):
        text = TRAINER.replace("name: tune}", f"name: tune-{number}}}").replace("settings", f"settings-{number}")
        Path(path).write_text(text, encoding="utf-8")

    outcome = engine.check(paths)

    assert len(outcome.checked) == len(paths)
    assert read == Counter(paths)
    assert engine.library.used_elsewhere() == set()
