"""A model that is split inside groups of processes, each group a replica: four with gloo beside four that share one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from child_runs import run_ranks
from safetensors.torch import load_file
from test_two_processes import losses
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from kaitoc.compiler.plan.plan import Plan, read_plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.sharding import fsdp_arguments, with_sharding
from kaitoc.runtime.output.adapter import result_folder
from kaitoc.runtime.output.checkpoints import is_same_plan, write_plan
from kaitoc.runtime.output.names import COMPLETED

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
TRAINING = {
    "max_steps": 3, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2, "per_device_train_batch_size": 1,
    "max_grad_norm": 0.05,
}  # fmt: skip
"""Every gradient is clipped, so that a norm of one group's shards alone would train another model."""


def in_four(plan: Plan, group: int | None, **changes: Any) -> Plan:
    return plan.model_copy(update={"num_processes": 4, "sharding": "fsdp2", "shard_group": group, **changes})


def result(plan: Plan) -> dict[str, torch.Tensor]:
    (file,) = result_folder(plan).glob("*model.safetensors")
    found: dict[str, torch.Tensor] = load_file(file)
    return found


def num_shards(checkpoint: Path) -> set[int]:
    """Return into how many pieces the tensors of a checkpoint are split."""
    content = FileSystemReader(checkpoint / "pytorch_model_fsdp_0").read_metadata().state_dict_metadata
    return {len(tensor.chunks) for tensor in content.values() if isinstance(tensor, TensorStorageMetadata)}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{"r": 4}, None], ids=["adapters", "all weights"])
def test_two_groups_of_two_train_what_four_and_what_one_process_do(
    make_plan: MakePlan, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    def plan_of(name: str, num_accumulated: int = 1) -> Plan:
        training = {**TRAINING, "gradient_accumulation_steps": num_accumulated}
        return make_plan(lora=lora, training=training, output={"path": str(tmp_path / name), "merge": lora is not None})

    hybrid, flat, one = in_four(plan_of("hybrid"), 2), in_four(plan_of("flat"), None), plan_of("one", 4)
    run_plan(one, RunOptions("cpu", show_progress=False))
    for plan in (hybrid, flat):
        ends = run_ranks(plan, tmp_path / f"ranks-{plan.shard_group}")
        assert [end.returncode for end in ends] == [0] * 4, ends
        assert ("4 processes (fsdp2, 2 groups of 2)" in ends[0].stderr) is (plan is hybrid)

    output = Path(hybrid.output.path)
    assert num_shards(output / "checkpoints" / "checkpoint-2") == {2}
    assert num_shards(Path(flat.output.path) / "checkpoints" / "checkpoint-2") == {4}
    for other in (flat, one):
        assert losses(hybrid) == pytest.approx(losses(other), rel=1e-4)
        ours, theirs = result(hybrid), result(other)
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)

    before = result(hybrid)
    shutil.rmtree(output / "checkpoints" / "checkpoint-3")
    (output / COMPLETED).unlink()
    resumed = run_ranks(hybrid, tmp_path / "second", "--resume")
    assert [end.returncode for end in resumed] == [0] * 4, resumed
    assert "step 3/3" in resumed[0].stderr
    assert "step 2/3" not in resumed[0].stderr
    assert losses(hybrid) == pytest.approx(losses(one), rel=1e-4)
    assert all(torch.equal(value, result(hybrid)[name]) for name, value in before.items())


def test_processes_that_follow_each_other_form_a_group(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    plan = with_sharding(in_four(make_plan(), 2), "cpu")

    groups = fsdp_arguments(plan)["parallelism_config"]
    assert (groups.dp_replicate_size, groups.dp_shard_size) == (2, 2)
    assert plan.num_nodes == 2, "as the launcher says"


def test_a_group_of_all_processes_is_none(make_plan: MakePlan) -> None:
    plan = with_sharding(in_four(make_plan(), 4), "cpu")

    assert plan.shard_group is None
    assert "parallelism_config" not in fsdp_arguments(plan)


def test_whole_copies_on_a_cpu_leave_a_group_without_effect(make_plan: MakePlan) -> None:
    assert with_sharding(in_four(make_plan(), 2, sharding="auto"), "cpu").shard_group is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"shard_group": 3}, "4 GPUs cannot form shard groups of 3; the nearest size is 2"),
        ({"shard_group": 8}, "the nearest size is 4"),
        ({"shard_group": 2, "sharding": "ddp"}, "a shard group needs a sharded model"),
    ],
)
def test_a_group_that_no_run_can_have_is_refused(make_plan: MakePlan, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanFailure, match=told):
        with_sharding(in_four(make_plan(), None, **changes), "cpu")


def test_a_plan_of_an_earlier_release_has_one_group_on_one_node(make_plan: MakePlan) -> None:
    content = json.loads(make_plan().to_json())
    del content["shard_group"], content["num_nodes"]

    plan = read_plan(json.dumps(content))
    assert (plan.shard_group, plan.num_nodes) == (None, 1)


def test_a_run_is_resumed_on_other_nodes_but_not_in_other_groups(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = in_four(make_plan(), 2)
    tmp_path.joinpath("results").mkdir()
    write_plan(plan, tmp_path / "results")

    assert is_same_plan(plan.model_copy(update={"num_nodes": 2}), tmp_path / "results")
    assert not is_same_plan(plan.model_copy(update={"shard_group": None}), tmp_path / "results")
