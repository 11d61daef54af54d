"""`kaitoc estimate --task serve`, and what `kaitoc check` says of a server's memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.catalog.served_models import find_served
from kaitoc.compiler.cli import cli
from kaitoc.compiler.job.serving_nodes import kaito_token_bytes
from kaitoc.compiler.kaito.node_estimate import estimate_nodes
from kaitoc.compiler.kaito.node_layout import NodeLayout, node_layout
from kaitoc.compiler.memory.serving.models import served_model

WORKSPACE = """apiVersion: kaito.sh/v1beta1
kind: {kind}
metadata:
  name: server
{body}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: serving
data:
  inference_config.yaml: |
    vllm:
      {option}
"""
SERVED = """resource:
  instanceType: {instance}
  labelSelector: {{matchLabels: {{app: server}}}}
inference:
  preset: {{name: {preset}}}
  config: serving"""
SET = """spec:
  replicas: 1
  labelSelector: {{matchLabels: {{app: server}}}}
  template:
    resource: {{instanceType: {instance}}}
    inference:
      preset: {{name: {preset}}}
      config: serving"""
A100, A10 = "Standard_NC24ads_A100_v4", "Standard_NV36ads_A10_v5"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def estimate(*arguments: str) -> Result:
    return run("estimate", "--task", "serve", *arguments)


def serving_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(estimate("--format", "json", *arguments).stdout)["jobs"][0]["serving"]
    return found


def manifest(folder: Path, option: str, *, preset: str = "llama-3.1-8b-instruct", instance: str = A100,
             kind: str = "Workspace", body: str = SERVED) -> str:  # fmt: skip
    path = folder / "server.yaml"
    text = WORKSPACE.format(kind=kind, body=body.format(preset=preset, instance=instance), option=option)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("model", "gpu", "code"), [
    ("llama-3.1-8b-instruct", "A100-80GB", 0), ("llama-3.3-70b-instruct", "A100-80GB", 1), ("lama", "A100-80GB", 2),
    ("llama-3.1-8b-instruct", "A1000", 2),
])  # fmt: skip
def test_exit_codes_are_those_of_fine_tunes(model: str, gpu: str, code: int) -> None:
    assert estimate("--model", model, "--gpu", gpu).exit_code == code


def test_manifests_are_estimated_as_kaito_starts_them(tmp_path: Path) -> None:
    stated = manifest(tmp_path, "gpu-memory-utilization: 0.5")

    serving = serving_of(stated)
    assert serving["kv_tokens"] == serving_of("--model", "llama-3.1-8b-instruct", "--gpu", A100,
                                              "--gpu-memory-utilization", "0.5")["kv_tokens"]  # fmt: skip
    assert serving["kaito_nodes"] == serving["needed_nodes"] == 1


def test_inference_sets_are_estimated_too(tmp_path: Path) -> None:
    stated = manifest(tmp_path, "max-model-len: 8192", kind="InferenceSet", body=SET)

    assert serving_of(stated)["context"] == 8192


def test_a_check_tells_what_a_server_holds(tmp_path: Path) -> None:
    report = json.loads(run("check", "--format", "json", manifest(tmp_path, "max-model-len: 8192")).stdout)

    job = report["jobs"][0]
    assert (job["method"], job["seq_len"], job["verdict"]) == ("serve", 8192, "fits")
    assert job["serving"]["concurrency"][-1]["tokens"] == 8192


def test_a_context_that_no_cache_holds_is_an_error_with_both_figures(tmp_path: Path) -> None:
    found = run("check", manifest(tmp_path, "max_model_len: 131072", instance=A10)).stdout

    assert "`max-model-len: 131072` needs 16.00 GiB of KV cache for one request" in found
    assert "and 2.90 GiB are available" in found


def test_solved_lengths_fit_and_longer_ones_do_not() -> None:
    arguments = ("--model", "llama-3.1-8b-instruct", "--gpu", "L4-24GB")
    length = int(serving_of(*arguments, "--solve", "max-model-len")["solved"])

    assert estimate(*arguments, "--max-model-len", str(length), "--strict").exit_code == 0
    assert estimate(*arguments, "--max-model-len", str(length + 16), "--strict").exit_code == 1


def test_the_fewest_gpus_are_named_as_a_layout_that_fits() -> None:
    solved = serving_of("--model", "llama-3.3-70b-instruct", "--gpu", "A100-80GB", "--solve", "gpus")["solved"]

    assert solved == "4 (--tp 4 --pp 1)"
    assert estimate("--model", "llama-3.3-70b-instruct", "--gpu", "A100-80GB", "--tp", "4", "--strict").exit_code == 0


def test_an_answer_decides_the_exit_code_where_one_is_asked_for() -> None:
    arguments = ("--model", "llama-3.3-70b-instruct", "--gpu", "A100-80GB", "--solve")

    assert estimate(*arguments, "gpus").exit_code == 0
    assert estimate(*arguments, "max-model-len").exit_code == 1


@pytest.mark.parametrize(
    ("model", "question", "answer"),
    [
        ("llama-3.1-8b-instruct", "max-model-len", "longest context that certainly fits: --max-model-len "),
        ("llama-3.3-70b-instruct", "max-model-len", "no context certainly fits"),
        ("llama-3.3-70b-instruct", "gpus", "fewest GPUs that certainly fit: "),
        ("llama-3.3-70b-instruct", "concurrency", "not even one request fits"),
        ("phi-4", "instance", "smallest instance types that certainly fit: "),
    ],
)
def test_the_answer_to_a_question_is_the_last_line(model: str, question: str, answer: str) -> None:
    result = estimate("--model", model, "--gpu", "L4-24GB", "--solve", question)
    assert result.output.splitlines()[-1].startswith(answer)


def test_instances_are_listed_by_their_memory() -> None:
    solved = serving_of("--model", "phi-4", "--gpu", A100, "--solve", "instance")["solved"].split(", ")

    sizes = [instance.total_gib for name in solved if (instance := find_instance_type(name)) is not None]
    assert len(sizes) == 5
    assert sizes == sorted(sizes)


def test_kaitos_layout_is_taken_where_none_is_stated() -> None:
    copies = serving_of("--model", "phi-4", "--gpu", "Standard_NC48ads_A100_v4")
    shared = serving_of("--model", "llama-3.3-70b-instruct", "--gpu", "Standard_NC96ads_A100_v4")

    assert (copies["tensor_parallel"], copies["data_parallel"]) == (1, 2)
    assert (shared["tensor_parallel"], shared["data_parallel"]) == (4, 1)


def test_options_of_the_other_task_are_refused() -> None:
    assert estimate("--model", "phi-4", "--gpu", A100, "--rank", "8").exit_code == 2
    assert run("estimate", "--model", "phi-4", "--gpu", A100, "--tp", "2").exit_code == 2


def test_a_model_outside_the_catalog_is_read_from_its_config(tmp_path: Path) -> None:
    known = find_served("qwen3.5-9b")
    assert known is not None
    path = tmp_path / "config.json"
    text = dict(known.config)["text_config"]
    path.write_text(json.dumps({"model_type": "qwen3_5", "text_config": dict(text)}), encoding="utf-8")

    cache = ("--kv-cache-memory-bytes", str(8 << 30), "--max-model-len", "4096")
    named = serving_of("--model", "qwen3.5-9b", *cache)
    assert serving_of("--model-config", str(path), *cache)["kv_tokens"] == named["kv_tokens"]


# What Kaito's estimator (v0.12) gives models on instance types, and how the controller lays them out on one node.
KAITO = (
    ("microsoft/phi-4", "Standard_NV36ads_A10_v5", 2, NodeLayout(1, 1)),
    ("microsoft/phi-4", "Standard_NV72ads_A10_v5", 1, NodeLayout(2, 1)),
    ("microsoft/phi-4", "Standard_NC96ads_A100_v4", 1, NodeLayout(1, 4)),
    ("google/gemma-3-27b-it", "Standard_NC24ads_A100_v4", 1, NodeLayout(1, 1)),
    ("deepseek-ai/DeepSeek-R1-0528", "Standard_ND96isr_H100_v5", 2, NodeLayout(8, 1)),
)


@pytest.mark.parametrize(("model", "instance", "nodes", "layout"), KAITO)
def test_nodes_and_layout_are_kaitos(model: str, instance: str, nodes: int, layout: NodeLayout) -> None:
    served, shape, node = find_served(model), served_model(model), find_instance_type(instance)
    assert served is not None
    assert shape is not None
    assert node is not None
    assert served.checkpoint_bytes is not None

    estimated = estimate_nodes("v0.12", node, served.checkpoint_bytes, kaito_token_bytes(shape), None)
    assert estimated is not None
    assert estimated.num_nodes == nodes
    assert node_layout(node, served.checkpoint_bytes, has_replicas=True) == layout


def test_a_tuning_check_loads_nothing_that_serves() -> None:
    """Nor does a server's check load PyTorch."""
    code = (
        "import sys; from kaitoc.compiler.check.engine import Engine; from kaitoc.rules import JOB_RULES;"
        "print([name for name in sys.modules if 'memory.serving' in name or name == 'torch'])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_more_nodes_than_layers_is_an_error_where_the_estimate_says_so(tmp_path: Path) -> None:
    manifest = WORKSPACE.format(
        kind="Workspace",
        body=SERVED.format(instance="Standard_NC4_A2", preset="mistralai/Mistral-Medium-3.5-128B"),
        option="max-model-len: 32768",
    )
    path = tmp_path / "server.yaml"
    path.write_text(manifest)

    assert "88 layers, too few for" in run("check", str(path)).stdout
    assert "88 layers, too few for" in estimate(str(path)).stderr


@pytest.mark.parametrize("option", ["seed: 1e400", "seed: !!timestamp x", "speculative-config: '{\"a\": Infinity}'"])
def test_no_value_ends_in_an_internal_error(tmp_path: Path, option: str) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(
        WORKSPACE.format(kind="Workspace", body=SERVED.format(instance=A100, preset="phi-4"), option=option)
    )

    found = run("check", str(path))

    assert found.exit_code == 1
    assert "internal error" not in found.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gpu", A100, "--kv-dtype", "int8"), "vLLM 0.25.1 has no KV cache type `int8`"),
        (("--gpu", A100, "--max-model-len", "999999"), "phi-4 has a context of 16,384 tokens, fewer than 999,999"),
        (("--gpu", A100, "--solve", "max-model-len", "--max-model-len", "4096"), "leave --max-model-len out"),
        (("--gpu", A100, "--solve", "gpus", "--gpus", "2"), "leave --gpus out"),
        (("--gpu", A100, "--solve", "gpus", "--tp", "2"), "leave --tp out"),
        (("--gpu", A100, "--tp", "3"), "which 3 GPUs cannot share"),
        (("--gpu", A100, "--gpus", "4", "--tp", "2"), "--tp, --pp and --dp take 2 GPUs, not 4"),
        (("--gpu", A100, "--pp", "64"), "too few for 64 pipeline stages"),
        ((), "needs a GPU"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(words: tuple[str, ...], told: str) -> None:
    result = estimate("--model", "phi-4", *words)

    assert result.exit_code == 2
    assert told in result.output
    assert len(result.output.splitlines()) == 1


def test_instance_types_are_solved_without_a_gpu() -> None:
    without = serving_of("--model", "phi-4", "--solve", "instance")

    smallest = without["solved"].split(", ")[0]
    assert without == serving_of("--model", "phi-4", "--gpu", smallest, "--solve", "instance")


def test_the_other_task_is_named_where_its_objects_are_given(tmp_path: Path) -> None:
    body = SERVED.format(instance=A100, preset="phi-4")
    (tmp_path / "server.yaml").write_text(WORKSPACE.format(kind="Workspace", body=body, option="seed: 1"))

    result = run("estimate", str(tmp_path / "server.yaml"))

    assert result.exit_code == 2
    assert "--task serve" in result.output
