"""`kaitoc compile --emit`: manifests that each release's CRDs take, names that fit, the same bytes each time."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from crd_schemas import faults, rules, versions_of
from emit_cases import Case, cases, job_of

from kaitoc.compiler.cli import cli
from kaitoc.compiler.engines.emission import emission_of
from kaitoc.compiler.plan.plan import read_plan

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"
IMAGE = ("--image", "registry.example/kaitoc-runtime:0.1.0", "--model-claim", "model")
LARGE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: params}
data:
  training_config.yaml: |
    training_config:
      LoraConfig: {r: 8, target_modules: [q_proj, v_proj]}
      TrainingArguments: {per_device_train_batch_size: 1, max_length: 512, gradient_checkpointing: true}
---
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: large}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {a: b}}}
tuning:
  preset: {name: llama-3.3-70b-instruct}
  method: lora
  config: params
  input: {volumeSource: {persistentVolumeClaim: {claimName: data}}}
  output: {volumeSource: {persistentVolumeClaim: {claimName: results}}}
"""
CASES = cases(50, seed=20)
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def emit(*options: str, path: Path = DEMO) -> Result:
    return CliRunner().invoke(cli, ["compile", str(path), "--isolated", *options])


def objects(result: Result) -> dict[str, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return {content["kind"]: content for content in yaml.safe_load_all(result.stdout)}


def check_emitted(case: Case) -> None:
    """Hold what is emitted for a case to every recorded CRD and to the limits on names and labels."""
    emission = emission_of(job_of(case.text), case.options)
    found = {content["kind"]: content for content in yaml.safe_load_all(emission.text)}

    for kind, content in found.items():
        assert content["metadata"]["name"] == emission.name
        for version in versions_of(kind):
            assert faults(version, content) == [], version
        for value in content["metadata"]["labels"].values():
            assert len(value) <= 63
    plan = read_plan(found["ConfigMap"]["data"]["plan.json"])
    assert DNS_1035.fullmatch(emission.name)
    num_nodes = plan.num_processes // int(_resources(found)["nvidia.com/gpu"])
    assert len(f"{emission.name}-node-0-{num_nodes - 1}-abcde") <= 63
    assert emission_of(job_of(case.text), case.options).text == emission.text


def _resources(found: dict[str, Any]) -> dict[str, str]:
    (pod, *_) = _pods([content for kind, content in found.items() if kind != "TrainJob"])
    limits: dict[str, str] = pod["containers"][0]["resources"]["limits"]
    return limits


def _pods(content: Any) -> list[Any]:
    """Return the pod specs somewhere below."""
    if isinstance(content, dict):
        below = [pod for value in content.values() for pod in _pods(value)]
        return [content, *below] if "containers" in content else below
    return [pod for value in content for pod in _pods(value)] if isinstance(content, list) else []


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_release_takes_what_is_emitted(case: Case) -> None:
    check_emitted(case)


@cache
def program_of(rule: str) -> Any:
    environment = pytest.importorskip("celpy").Environment()
    return environment.program(environment.compile(rule))


def check_rules(case: Case) -> int:
    """Hold what is emitted for a case to the CEL rules of every recorded CRD; return how many were judged."""
    celpy = pytest.importorskip("celpy")
    judged = [
        (version, rule, bool(program_of(rule).evaluate({"self": celpy.json_to_cel(value)})))
        for content in yaml.safe_load_all(emission_of(job_of(case.text), case.options).text)
        for version in versions_of(content["kind"])
        for rule, value in rules(version, content)
    ]
    assert [(version, rule) for version, rule, holds in judged if not holds] == []
    return len(judged)


def test_the_rules_of_the_definitions_hold() -> None:
    assert sum(check_rules(case) for case in CASES[:10]) > 50


def test_a_schema_refuses_an_unknown_field() -> None:
    job = objects(emit("--emit", "trainjob", *IMAGE))["TrainJob"]
    job["spec"]["podSpecOverrides"] = []

    assert faults("trainer-v2.0.1/TrainJob", job) == []
    assert any("podSpecOverrides" in fault for fault in faults("trainer-v2.1.0/TrainJob", job))


def test_a_train_job_has_a_runtime_of_its_own_and_what_its_controller_needs() -> None:
    found = objects(emit("--emit", "trainjob", "--nodes", "4", "--queue", "team-a", "--rdma", "rdma/ib=8", *IMAGE))
    job, runtime = found["TrainJob"], found["TrainingRuntime"]
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]

    assert list(found) == ["ConfigMap", "TrainingRuntime", "TrainJob"]
    assert found["ConfigMap"]["immutable"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert sorted(job["spec"]) == ["runtimeRef", "trainer"]
    assert job["spec"]["trainer"]["resourcesPerNode"]["limits"] == {"nvidia.com/gpu": "1", "rdma/ib": "8"}
    assert replicated["name"] == pod["containers"][0]["name"] == "node"
    assert pod["restartPolicy"] == "Never"
    assert (replicated["template"]["spec"]["backoffLimit"], runtime["spec"]["template"]["spec"]["failurePolicy"]) == (
        0, {"maxRestarts": 3, "rules": [
            {"name": "noRetry", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}]}
    )  # fmt: skip


def test_one_node_is_replaced_by_itself() -> None:
    runtime = objects(emit("--emit", "trainjob", *IMAGE))["TrainingRuntime"]["spec"]["template"]["spec"]

    assert "failurePolicy" not in runtime
    assert runtime["replicatedJobs"][0]["template"]["spec"]["backoffLimit"] == 3


def test_a_job_set_states_the_environment_that_trainer_would_inject() -> None:
    job_set = objects(emit("--emit", "jobset", "--nodes", "2", *IMAGE))["JobSet"]
    name = job_set["metadata"]["name"]
    (pod,) = _pods(job_set)
    environment = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}

    assert environment["PET_NNODES"] == "2"
    assert environment["PET_MASTER_ADDR"] == f"{name}-node-0-0.{name}"
    assert job_set["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] == 2


def test_a_pytorch_job_has_a_master_and_the_other_nodes_as_workers() -> None:
    replicas = objects(emit("--emit", "pytorchjob", "--nodes", "3", *IMAGE))["PyTorchJob"]["spec"][
        "pytorchReplicaSpecs"
    ]

    assert {role: part["replicas"] for role, part in replicas.items()} == {"Master": 1, "Worker": 2}
    assert replicas["Master"]["template"]["spec"]["containers"][0]["name"] == "pytorch"


def test_the_plan_is_for_all_processes_and_the_paths_that_are_mounted() -> None:
    found = objects(emit("--emit", "trainjob", "--nodes", "3", *IMAGE))
    plan = read_plan(found["ConfigMap"]["data"]["plan.json"])

    assert plan.num_processes == 3
    assert (plan.model.path, plan.data.paths) == ("/mnt/model", ("/mnt/data",))
    assert plan.output.path == f"/mnt/results/{found['TrainJob']['metadata']['name']}"
    assert found["TrainJob"]["metadata"]["annotations"]["kaitoc.dev/processes"] == "3"


def test_another_content_has_another_name() -> None:
    names = {
        objects(emit("--emit", "trainjob", *IMAGE, *more))["TrainJob"]["metadata"]["name"]
        for more in ((), ("--nodes", "2"), ("--results-claim", "other"))
    }

    assert len(names) == 3


def test_nodes_auto_takes_the_fewest_that_the_memory_fits_on(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(LARGE)

    found = objects(emit("--emit", "trainjob", "--nodes", "auto", *IMAGE, path=path))
    num_nodes = found["TrainJob"]["spec"]["trainer"]["numNodes"]
    assert num_nodes > 1
    assert json.loads(found["ConfigMap"]["data"]["plan.json"])["sharding"] == "fsdp2"

    fewer = emit("--emit", "trainjob", "--nodes", str(num_nodes - 1), *IMAGE, path=path)
    assert fewer.exit_code == 2
    assert f"it fits on {num_nodes} or more nodes (--nodes {num_nodes})" in fewer.stderr


def plan_in(result: Result) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(objects(result)["ConfigMap"]["data"]["plan.json"])
    return plan


def test_each_of_several_nodes_holds_a_copy_where_one_fits_there(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(LARGE.replace("Standard_NC24ads_A100_v4", "Standard_ND96amsr_A100_v4"))
    in_nodes = emit("--emit", "trainjob", "--nodes", "2", *IMAGE, path=path)

    plan = plan_in(in_nodes)
    assert (plan["num_processes"], plan["num_nodes"], plan["sharding"], plan["shard_group"]) == (16, 2, "fsdp2", 8)
    assert "16 processes (fsdp2 in 2 groups of 8)" in in_nodes.stderr
    in_pairs = plan_in(emit("--emit", "trainjob", "--nodes", "2", "--shard-group", "4", *IMAGE, path=path))
    assert in_pairs["shard_group"] == 4
    assert in_pairs["predicted"]["weights"] > 1.5 * plan["predicted"]["weights"]
    over_all = plan_in(emit("--emit", "trainjob", "--nodes", "2", "--shard-group", "16", *IMAGE, path=path))
    assert (over_all["shard_group"], over_all["sharding"]) == (None, "fsdp2")
    assert over_all["predicted"]["weights"] < plan["predicted"]["weights"]


def test_a_copy_that_no_node_holds_is_split_over_all(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(LARGE)

    assert plan_in(emit("--emit", "trainjob", "--nodes", "auto", *IMAGE, path=path))["shard_group"] is None


def test_groups_of_whole_copies_are_said_to_have_no_effect() -> None:
    result = emit("--emit", "trainjob", "--nodes", "2", "--shard-group", "2", *IMAGE)

    assert plan_in(result)["shard_group"] is None
    assert "--shard-group 2 has no effect: each GPU holds a whole copy (ddp)" in result.stderr
