"""Every option of `kaitoc estimate` has an effect where it stands, or is refused or noted with what to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.cli import cli

MODEL = ("--model", "llama-3.2-1b")
ON_A10 = (*MODEL, "--gpu", "A10-24GB")
TUNE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: params}
data:
  training_config.yaml: |
    training_config:
      ModelConfig: {torch_dtype: bfloat16}
      LoraConfig: {r: 8, target_modules: [qkv_proj, o_proj]}
      TrainingArguments: {per_device_train_batch_size: 1, max_length: 512}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: tune}
resource: {instanceType: Standard_NC48ads_A100_v4, labelSelector: {matchLabels: {app: tune}}}
tuning:
  preset: {name: phi-4}
  method: lora
  config: params
  input: {urls: ["https://example.com/data.json"]}
  output: {image: example.com/tuned:1, imagePushSecret: secret}
"""
SERVE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: serve}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {app: serve}}}
inference:
  preset: {name: phi-4}
"""


def estimate(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["estimate", *arguments])


def job_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(estimate(*arguments, "--format", "json").stdout)["jobs"][0]
    return found


@pytest.fixture
def tune(tmp_path: Path) -> str:
    (tmp_path / "tune.yaml").write_text(TUNE, encoding="utf-8")
    return str(tmp_path / "tune.yaml")


@pytest.fixture
def serve(tmp_path: Path) -> str:
    (tmp_path / "serve.yaml").write_text(SERVE, encoding="utf-8")
    return str(tmp_path / "serve.yaml")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        *(
            (("--method", "full", *option), f"{option[0]} is for adapters; use --method lora or qlora")
            for option in (
                ("--rank", "64"), ("--targets", "o_proj"), ("--dropout", "0.1"), ("--adapter-dtype", "float16"),
                ("--dora",), ("--modules-to-save", "lm_head"),
            )
        ),
        (("--group-size", "64"), "--group-size needs --quantization gptq or awq"),
        (("--double-quant",), "--double-quant needs 4-bit weights"),
        (("--kbit-prep",), "--kbit-prep needs quantized weights"),
        (("--batching", "packed"), "add --lengths P50,P90,MAX or --data FILE"),
        (("--price", "Standard_NC24ads_A100_v4=3"), "add --samples N"),
        (("--plot", "sweep.svg"), "--plot needs --sweep"),
        (("--gpu-memory", "30"), "--gpu and --gpu-memory both name a GPU; leave one out"),
        (("--stack", "kaito-v0.10", "--kaito-version", "v0.12.0"), "leave out --kaito-version"),
        (("--target", "bundled", "--kaito-version", "v0.12.0"), "leave out --kaito-version"),
        (("--task", "dpo", "--kaito-version", "v0.12.0"), "leave out --kaito-version"),
        (("--target", "bundled", "--stack", "kaito-v0.10"), "leave out --target bundled"),
        (("--task", "dpo", "--target", "kaito"), "leave out --target kaito"),
        (("--solve", "batch", "--batch", "4"), "leave --batch out"),
        (("--solve", "seq-len", "--seq-len", "512"), "leave --seq-len out"),
        (("--solve", "gpus", "--gpus", "2"), "leave out --gpus and --nodes"),
        (("--solve", "rank", "--plot", "sweep.svg"), "--solve rank is incompatible with --plot"),
        (("--config", "kaitoc.toml"), "remove --config, or pass a manifest"),
        (("--task", "serve", "--solve", "rank"), "--solve rank applies to a fine-tune only"),
        (("--task", "serve", "--target", "bundled"), "--target applies to a fine-tune only"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused_with_what_to_write(options: tuple[str, ...], told: str) -> None:
    result = estimate(*ON_A10, *options)

    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*MODEL, "--strict"), "--strict has no effect: there is no GPU to compare with"),
        ((*MODEL, "--margin", "20"), "--margin has no effect: there is no GPU to compare with"),
        ((*ON_A10, "--samples", "9", "--price", "Standard_NC24ads_A100_v4=3"), "--price has no effect"),
        ((*MODEL, "--lengths", "20,60,128", "--sweep", "batch=1:2"), "--sweep assumes the longest batch"),
        ((*MODEL, "--solve", "gpus", "--no-reshard"), "--no-reshard has no effect"),
        (("--model", "phi-4", "--gpu", "A100-80GB", "--task", "serve", "--expert-parallel"), "phi-4 has no experts"),
        (
            ("--model", "phi-4", "--gpu", "A100-80GB", "--task", "serve", "--enable-prefix-caching"),
            "no recurrent state",
        ),
    ],
)
def test_what_depends_on_the_run_is_noted_where_it_has_no_effect(options: tuple[str, ...], told: str) -> None:
    result = estimate(*options)

    assert result.exit_code == 0
    assert told in result.stderr


def test_a_server_of_a_manifest_keeps_the_gpu_of_its_instance_type(serve: str) -> None:
    result = estimate(serve, "--task", "serve", "--gpu", "A10-24GB")

    assert "--gpu has no effect on `serve`: its instance type has A100-80GB" in result.stderr
    assert estimate(serve, "--task", "serve", "--model-config", "config.json").exit_code == 2


def test_a_sweep_is_in_the_json_too() -> None:
    swept = job_of(*ON_A10, "--sweep", "batch=1:3")["swept"]

    assert (swept["size"], [point["value"] for point in swept["points"]]) == ("batch", [1, 2, 3])
    assert swept["points"][0]["peak_bytes"] == job_of(*ON_A10)["peak_bytes"]
    assert {point["verdict"] for point in swept["points"]} == {"fits"}


def test_what_is_solved_for_is_shown_by_phase_too() -> None:
    assert "optimizer" in estimate(*ON_A10, "--solve", "batch", "--phase").stdout.split("largest that")[0]


def test_a_manifest_learns_preferences_as_run_does_whatever_its_target(tune: str) -> None:
    alone, stated = job_of(tune, "--task", "dpo"), job_of(tune, "--task", "dpo", "--target", "bundled")

    assert (alone["task"], alone["peak_bytes"]) == ("dpo", stated["peak_bytes"])
    sharded = job_of(tune, "--task", "dpo", "--sharding", "fsdp2")
    assert sharded["sharding"]["kind"] == "fsdp2"
    assert sharded["peak_bytes"]["allocated"] < alone["peak_bytes"]["allocated"]


def test_settings_of_manifests_hold_unless_they_are_ignored(tune: str, tmp_path: Path) -> None:
    (tmp_path / "kaitoc.toml").write_text("margin = 30\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("margin = 40\n", encoding="utf-8")

    assert job_of(tune)["margin"] == 0.3
    assert job_of(tune, "--margin", "20")["margin"] == 0.2
    assert job_of(tune, "--isolated")["margin"] == 0.05
    assert job_of(tune, "--config", str(tmp_path / "other.toml"))["margin"] == 0.4


def test_settings_of_servers_hold_unless_they_are_ignored(serve: str, tmp_path: Path) -> None:
    (tmp_path / "kaitoc.toml").write_text("margin = 30\n", encoding="utf-8")

    assert job_of(serve, "--task", "serve")["margin"] == 0.3
    assert job_of(serve, "--task", "serve", "--isolated")["margin"] == 0.05
