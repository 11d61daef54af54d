"""Secrets in a manifest are in nothing that a command prints, with or without a finding about them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

SECRETS = ("hf_PLANTEDplantedplanted1", "PLANTED-two", "PLANTED-three", "PLANTED-four", "PLANTED-five", "PLANTED-six")
MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: tuned}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {torch_dtype: bfloat16, token: PLANTED-two}
      LoraConfig: {r: 8, target_modules: [qkv_proj]}
      TrainingArguments: {output_dir: /mnt/results, hub_token: hf_PLANTEDplantedplanted1, eos_token: "</shown>"}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tune}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {a: b}}}
tuning:
  preset: {name: phi-4}
  method: lora
  config: tuned
  input: {urls: ["https://user:PLANTED-three@example.org/a.html?sv=1&sig=PLANTED-four"]}
  output: {image: "a/b:c", imagePushSecret: shown-secret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: served}
data:
  inference_config.yaml: |
    vllm:
      api-key: PLANTED-five
      hf-token: PLANTED-six
      max-model-len: -5
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: serve}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {a: b}}}
inference: {preset: {name: phi-4}, config: served}
"""
FORMATS = ("text", "concise", "json", "sarif", "github", "gitlab", "junit", "rdjson", "markdown")
COMMANDS = (
    *(f"check --format {name}" for name in FORMATS),
    "check --show-effective",
    "run --dry-run --workspace tune",
    "estimate",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_secret_is_shown(command: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(MANIFEST, encoding="utf-8")

    result = CliRunner().invoke(cli, [*command.split(), str(file)])

    assert result.output
    assert [secret for secret in SECRETS if secret in result.output] == []


def test_the_line_is_shown_without_them_and_marked_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(MANIFEST, encoding="utf-8")

    lines = CliRunner().invoke(cli, ["check", str(file)]).stdout.splitlines()

    (shown,) = {line for line in lines if "hub_token: *" in line}
    assert 'eos_token: "</shown>"' in shown
    assert any("imagePushSecret: shown-secret" in line for line in lines)
    marks = [below for line, below in pairwise(lines) if line == shown and "^" in below]
    assert shown.index("*" * len(SECRETS[0])) in [mark.index("^") for mark in marks]
