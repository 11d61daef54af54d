"""`kaitoc check --show-effective` shows what a server is started with."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from kaitoc.compiler.cli import cli

SERVING = """apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: phi}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {app: phi}}}
inference: {preset: {name: phi-4-mini-instruct}, config: serving}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: serving}
data:
  inference_config.yaml: |
    vllm:
      max_model_len: 8k
      swap-space: 4
"""


def shown(tmp_path: Path, text: str) -> str:
    path = tmp_path / "serving.yaml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", "--isolated", "--show-effective", str(path)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_values_have_their_origin(tmp_path: Path) -> None:
    rows = {tuple(line.split())[:2]: line.split()[-1] for line in shown(tmp_path, SERVING).splitlines()}

    assert rows["max-model-len", "8000"].endswith("serving.yaml:13")
    assert rows["gpu-memory-utilization", "0.84"] == "controller"


def test_the_command_has_the_controllers_words_and_those_of_the_config(tmp_path: Path) -> None:
    text = shown(tmp_path, SERVING)

    assert "--gpu-memory-utilization=0.84" in text
    assert "--max_model_len 8k --swap-space 4" in text
    assert "refused: swap-space (unknown option)" in text


def test_what_is_not_known_yet_is_not_shown(tmp_path: Path) -> None:
    text = SERVING.replace("metadata: {name: phi}", "metadata: {name: phi, annotations: ${ANNOTATIONS}}")

    assert "not known" in shown(tmp_path, text)


def test_files_without_a_server_are_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", "--isolated", "--show-effective", str(tmp_path)])

    assert result.exit_code == 0
    assert (result.stdout, result.stderr) == (
        "",
        "kaitoc: no server found in the given paths; --show-effective shows servers only\n",
    )


def test_a_server_on_several_nodes_has_the_layout_that_estimate_shows(tmp_path: Path) -> None:
    text = SERVING.replace("name: phi-4-mini-instruct", "name: llama-3.3-70b-instruct").replace(
        "swap-space: 4", "seed: 1"
    )
    lines = shown(tmp_path, text).splitlines()
    estimated = CliRunner().invoke(cli, ["estimate", "--isolated", "--task", "serve", str(tmp_path / "serving.yaml")])

    assert "  layout: PP 3, 3 nodes (Kaito's controller)" in lines
    assert any(line.split() == ["pipeline-parallel-size", "3", "Kaito's", "controller"] for line in lines)
    assert "layout            PP 3, 3 nodes (Kaito's controller)" in estimated.stdout.splitlines()


def test_a_size_that_the_config_sets_is_told_from_kaitos(tmp_path: Path) -> None:
    text = SERVING.replace("name: phi-4-mini-instruct", "name: llama-3.3-70b-instruct")
    path = tmp_path / "serving.yaml"
    lines = shown(tmp_path, text.replace("swap-space: 4", "pipeline-parallel-size: 4")).splitlines()

    assert f"  layout: PP 4 ({path}:14); 3 nodes (Kaito's controller)" in lines


def test_more_workers_than_the_nodes_have_gpus_are_refused(tmp_path: Path) -> None:
    text = SERVING.replace("name: phi-4-mini-instruct", "name: llama-3.3-70b-instruct")
    path = tmp_path / "serving.yaml"
    path.write_text(text.replace("swap-space: 4", "tensor-parallel-size: 2"), encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", "--isolated", "--select", "KT710", str(path)])

    assert "asks for 6 GPUs" in result.stdout
    assert "the 3 nodes that Kaito starts have 3" in result.stdout
