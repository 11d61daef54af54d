"""What KT501 advises where neither checkpointing nor a smaller batch helps: each way, followed, makes the run fit."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

MANIFEST = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: tune}}
resource: {{instanceType: {instance}, labelSelector: {{matchLabels: {{a: b}}}}}}
tuning:
  preset: {{name: {preset}}}
  method: qlora
  config: params
  input: {{urls: ["https://example.com/rows.jsonl"]}}
  output: {{image: example.com/tuned:1, imagePushSecret: secret}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: params}}
data:
  training_config.yaml: |
    training_config:
      QuantizationConfig: {{load_in_4bit: true, bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true}}
      LoraConfig: {{r: 8, target_modules: [o_proj]}}
      TrainingArguments: {{output_dir: /mnt/results, per_device_train_batch_size: 1, gradient_checkpointing: true,
        bf16: true, max_length: {tokens}}}
"""


def help_on(*, target: str, options: tuple[str, ...] = (), **values: object) -> str:
    """Return the advice of KT501, empty without a finding."""
    text = MANIFEST.format(**{"instance": "Standard_NC24ads_A100_v4", **values})
    words = ["check", "-", "--isolated", "--select", "KT501", "--target", target, *options]
    printed = CliRunner().invoke(cli, words, input=text).stdout
    found = re.search(r"= help: (.*?)\n\n", printed, re.DOTALL)
    assert bool(found) == ("KT501" in printed), printed
    return " ".join(found[1].split()) if found is not None else ""


@pytest.mark.parametrize("target", ["kaito", "bundled"])
def test_shorter_rows_that_fit_are_named(target: str) -> None:
    job: dict[str, Any] = {
        "preset": "phi-3-medium-128k-instruct",
        "instance": "Standard_NV36ads_A10_v5",
        "target": target,
    }
    advice = help_on(**job, tokens=100_000)
    shorter = re.search(r"with `max_length: (\d+)` it fits, longer rows truncated", advice)

    assert shorter is not None, advice
    assert help_on(**job, tokens=int(shorter[1])) == ""


def test_an_assumed_length_is_advised_by_its_option() -> None:
    job: dict[str, Any] = {
        "preset": "phi-3-medium-128k-instruct",
        "instance": "Standard_NV36ads_A10_v5",
        "target": "kaito",
    }
    advice = help_on(**job, tokens=512, options=("--seq-len", "100000"))

    assert re.search(r"with --seq-len \d+ it fits", advice)


@pytest.mark.parametrize("target", ["kaito", "bundled"])
def test_an_instance_type_that_holds_the_run_is_named(target: str) -> None:
    job: dict[str, Any] = {"preset": "qwen2.5-coder-32b-instruct", "tokens": 512, "target": target}
    advice = help_on(**job, instance="Standard_NV36ads_A10_v5")
    larger = re.search(r"it fits on (\S+)", advice)

    assert larger is not None, advice
    assert help_on(**job, instance=larger[1]) == ""


def test_a_stated_gpu_is_replaced_by_an_option() -> None:
    job: dict[str, Any] = {"preset": "qwen2.5-coder-32b-instruct", "tokens": 512, "target": "bundled"}
    advice = help_on(**job, options=("--gpu-memory", "16"))
    larger = re.search(r"it fits on (\S+) \(--gpu (\S+)\)", advice)

    assert larger is not None, advice
    assert help_on(**job, options=("--gpu", larger[2])) == ""


@pytest.mark.parametrize("target", ["kaito", "bundled"])
def test_no_advice_sends_to_a_command_that_refuses(target: str) -> None:
    job: dict[str, Any] = {"preset": "qwen2.5-coder-32b-instruct", "tokens": 512, "target": target}

    assert "see `kaitoc compile`" not in help_on(**job, instance="Standard_NV36ads_A10_v5")
