"""`--nodes auto` takes the cheapest nodes by the stated prices, the fewest where none are stated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from emit_cases import cases, job_of
from test_emit import IMAGE, LARGE

from kaitoc.compiler.catalog.gpus import find_instance_type
from kaitoc.compiler.cli import cli
from kaitoc.compiler.engines.world_size import world_of
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.speed import speed_of_plan

SMALL, LARGER = "Standard_NC24ads_A100_v4", "Standard_ND96isr_H100_v5"
SMALLEST, WITHOUT_BFLOAT16 = "Standard_NV36ads_A10_v5", "Standard_NC64as_T4_v3"
PRICES = ("--price", f"{SMALL}=3.67", "--price", f"{LARGER}=98.32")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.yaml"
    path.write_text(LARGE)
    return path


def emit(path: Path, *options: str) -> Result:
    command = ["compile", str(path), "--isolated", "--emit", "trainjob", "--nodes", "auto", *IMAGE, *options]
    return CliRunner().invoke(cli, command)


def nodes(result: Result) -> tuple[int, str]:
    """Return the number of nodes and their type, as the manifests and the plan in them agree on."""
    found = {content["kind"]: content for content in yaml.safe_load_all(result.stdout)}
    (job,) = found["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    instance = job["template"]["spec"]["template"]["spec"]["nodeSelector"]["node.kubernetes.io/instance-type"]
    trainer, plan = found["TrainJob"]["spec"]["trainer"], json.loads(found["ConfigMap"]["data"]["plan.json"])
    assert plan["num_processes"] == trainer["numNodes"] * trainer["numProcPerNode"]
    assert plan["provenance"]["gpu"] == find_instance_type(instance).gpu.name  # type: ignore[union-attr]  # it has one
    return trainer["numNodes"], instance


def test_without_prices_the_fewest_of_the_stated_type_are_taken_and_what_prices_would_do_is_said(large: Path) -> None:
    result = emit(large, "--allow-workspace-edits")

    count, instance = nodes(result)
    assert (count > 1, instance) == (True, SMALL)
    assert f"--nodes auto takes {count} x {SMALL}: the fewest that fit; --price {SMALL}=USD" in result.stderr


def test_another_type_that_is_cheaper_is_taken_where_the_workspace_may_change(large: Path) -> None:
    result = emit(large, *PRICES, "--allow-workspace-edits")

    assert nodes(result) == (1, LARGER)
    assert f"--nodes auto takes 1 x {LARGER}: a million tokens cost USD " in result.stderr


def test_another_type_that_is_cheaper_is_named_where_the_workspace_may_not_change(large: Path) -> None:
    result = emit(large, *PRICES)

    assert nodes(result)[1] == SMALL
    assert f"; --allow-workspace-edits takes 1 x {LARGER}: a million tokens cost USD " in result.stderr


def test_the_stated_type_stays_where_the_others_cost_more(large: Path) -> None:
    result = emit(large, "--price", f"{SMALL}=0.01", "--price", f"{LARGER}=98.32", "--allow-workspace-edits")

    assert nodes(result)[1] == SMALL
    assert "the least by the stated prices" in result.stderr


def test_a_type_that_lacks_bfloat16_is_no_choice_for_a_run_that_has_it(large: Path) -> None:
    result = emit(large, "--price", f"{SMALL}=3.67", "--price", f"{WITHOUT_BFLOAT16}=0.01", "--allow-workspace-edits")

    assert nodes(result)[1] == SMALL


def test_a_type_on_which_nothing_fits_is_refused_with_one_on_which_it_does(large: Path) -> None:
    long = LARGE.replace("max_length: 512", "max_length: 20000").replace(SMALL, SMALLEST)
    large.write_text(long)
    prices = ("--price", f"{SMALLEST}=0.5", "--price", "Standard_ND96isr_H200_v5=100")

    refused, taken = emit(large, *prices), emit(large, *prices, "--allow-workspace-edits")

    assert refused.exit_code == 2
    assert "it fits on 1 x Standard_ND96isr_H200_v5 (--allow-workspace-edits)" in refused.stderr
    assert nodes(taken) == (1, "Standard_ND96isr_H200_v5")


def test_more_nodes_than_the_fewest_never_cost_less_per_token() -> None:
    for case in cases(8, seed=3):
        job = job_of(case.text)
        instance = find_instance_type(job.instance_type.value) if job.instance_type is not None else None
        assert instance is not None
        plan = plan_of(job, model_path="/mnt/model", data="/mnt/data", output="/mnt/results", num_processes=2)
        fewest = world_of(plan, instance, None, job.assumptions.margin).num_nodes
        costs = []
        for count in (fewest, fewest + 1, fewest + 3, fewest * 4):
            speed = speed_of_plan(world_of(plan, instance, count, job.assumptions.margin).applied_to(plan), instance)
            assert speed is not None
            costs.append(count / speed.tokens_per_second)
        assert costs[0] <= min(costs) * 1.0001
