"""Several nodes on the loopback interface, with the environment that Trainer, JobSets and the training operator give.

Ranks are forked, each told that it is a node's by the variables of PyTorch's launcher; one test has our launchers meet.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from child_runs import _CONTEXT, ChildRun, Ended, free_port
from node_runs import NodeRuns, freeze_node, served
from test_two_processes import TRAINING, losses, weights
from torch.distributed import HashStore

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.data.download import local_paths
from kaitoc.runtime.failures import FinalFailure
from kaitoc.runtime.launch.nodes import NodeGroup, node_group
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.peers import wait_for_all

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
ROWS = b'{"text": "a"}\n' * 100
TRAINER = {
    "PET_NNODES": "4", "PET_NPROC_PER_NODE": "8", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "tune-node-0-0.tune",
    "PET_MASTER_PORT": "29500",
}  # fmt: skip
OPERATOR_V1 = {
    "WORLD_SIZE": "32", "RANK": "1", "PET_NPROC_PER_NODE": "8", "MASTER_ADDR": "tune-node-0-0.tune",
    "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.mark.parametrize("environment", [TRAINER, OPERATOR_V1])
def test_a_pods_environment_says_which_node_it_is(environment: dict[str, str]) -> None:
    group = node_group(32, "cpu", environment)

    assert group == NodeGroup(4, 1, 8, "tune-node-0-0.tune", 29500)
    assert group.describe() == "node 1 of 4, ranks 8-15, meeting at tune-node-0-0.tune:29500"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PET_NNODES": "2"}, r"the plan is for 32 processes, but the environment says 2 x 8"),
        ({"PET_NNODES": "1:4"}, "PET_NNODES must be a number, not '1:4'"),
        ({"PET_NODE_RANK": "4"}, "PET_NODE_RANK from 0 to 3"),
        ({"PET_MASTER_ADDR": ""}, "4 nodes need PET_MASTER_ADDR"),
        ({"PET_MASTER_PORT": ""}, "PET_MASTER_PORT must be a number"),
    ],
)
def test_an_environment_that_contradicts_the_plan_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(FinalFailure, match=words):
        node_group(32, "cpu", {**TRAINER, **changes})


@pytest.mark.parametrize(
    ("environment", "missing", "words"),
    [
        (TRAINER, "PET_NODE_RANK", "PET_NODE_RANK is not set; it must be a number"),
        (TRAINER, "PET_MASTER_PORT", "PET_MASTER_PORT is not set; it must be a number"),
        (TRAINER, "PET_NNODES", "PET_NODE_RANK is set and PET_NNODES is not: each node would train alone"),
        (OPERATOR_V1, "MASTER_ADDR", "4 nodes need PET_MASTER_ADDR"),
    ],
)
def test_a_variable_that_is_missing_is_named(environment: dict[str, str], missing: str, words: str) -> None:
    with pytest.raises(FinalFailure, match=words):
        node_group(32, "cpu", {name: value for name, value in environment.items() if name != missing})


def test_processes_that_make_no_whole_nodes_are_refused() -> None:
    with pytest.raises(FinalFailure, match="WORLD_SIZE is 33, which nodes of 8 processes"):
        node_group(32, "cpu", {**OPERATOR_V1, "WORLD_SIZE": "33"})


@pytest.mark.parametrize("stated", ["soon", "4", "nan", "inf", ""])
def test_a_silence_that_is_no_time_is_refused(stated: str) -> None:
    with pytest.raises(FinalFailure, match="KAITOC_SILENCE_SECONDS must be a number of seconds from 5"):
        node_group(32, "cpu", {**TRAINER, "KAITOC_SILENCE_SECONDS": stated})


def test_a_main_process_that_ends_at_once_waits_until_the_others_heard_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it ends the store: who reads a decision later would have lost the main process."""
    store, asked = HashStore(), count(1)

    class Store:
        def add(self, key: str, number: int) -> int:
            if next(asked) == 3:
                store.add(key, 1)  # by the other process
            return int(store.add(key, number))

    monkeypatch.setattr("kaitoc.runtime.peers._store", Store)
    monkeypatch.setenv("WORLD_SIZE", "2")

    wait_for_all()

    assert next(asked) == 4


def test_one_node_or_none_is_no_group() -> None:
    assert node_group(8, "cpu", {**TRAINER, "PET_NNODES": "1"}) is None
    assert node_group(8, "cpu", {}) is None


def launched(num_nodes: int, per_node: int) -> list[dict[str, str]]:
    """Return the variables that PyTorch's launchers give each process of some nodes."""
    size = num_nodes * per_node
    shared = {
        "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(per_node), "GROUP_WORLD_SIZE": str(num_nodes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    return [
        {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank % per_node), "GROUP_RANK": str(rank // per_node)}
        for rank in range(size)
    ]


def on_nodes(plans: list[Plan], folder: Path, *arguments: str) -> list[Ended]:
    """Run a plan on each node, one process each, to their ends."""
    variables = launched(num_nodes=len(plans), per_node=1)
    runs = [ChildRun(plan, folder / f"rank-{rank}", *arguments, **variables[rank]) for rank, plan in enumerate(plans)]
    return [run.end() for run in runs]


def of_size(plan: Plan, size: int) -> Plan:
    return plan.model_copy(update={"num_processes": size})


def test_output_that_the_nodes_do_not_share_is_refused_on_all_of_them(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [of_size(make_plan(output={"path": str(tmp_path / f"node-{node}")}), 2) for node in (0, 1)]

    ended = on_nodes(plans, tmp_path, "--resume")

    assert [run.returncode for run in ended] == [2, 2]
    for run in ended:
        assert "node 1 does not see what node 0 writes there" in run.stderr
        assert "on storage that they share" in run.stderr


def test_the_main_process_chooses_where_all_continue(make_plan: MakePlan, tmp_path: Path) -> None:
    two = of_size(make_plan(training={**TRAINING, "max_steps": 4, "save_steps": 2}), 2)
    assert [run.returncode for run in on_nodes([two, two], tmp_path)] == [0, 0]
    output = Path(two.output.path)
    (output / "fine_tuning_completed.txt").unlink()
    (output / "checkpoints" / "checkpoint-4" / "checksums.json").unlink()

    ended = on_nodes([two, two], tmp_path, "--resume")

    assert [run.returncode for run in ended] == [0, 0], ended
    assert "checkpoint-4 is damaged or incomplete" in ended[0].stderr
    assert "checkpoint" not in ended[1].stderr  # it may tell that it waits for the other's tokens
    assert len(losses(two)) == 4


def test_a_refusal_of_the_main_process_is_everybodys(make_plan: MakePlan, tmp_path: Path) -> None:
    two = of_size(make_plan(), 2)
    Path(two.output.path).mkdir(parents=True, exist_ok=True)
    (Path(two.output.path) / "fine_tuning_completed.txt").touch()

    ended = on_nodes([two, two], tmp_path)

    assert [run.returncode for run in ended] == [2, 2]


def download(address: str, folder: Path, variables: dict[str, str]) -> None:
    """Be a rank that needs training data."""
    os.environ.update(variables)
    (path,) = local_paths((address,), folder, reuse=True)
    assert Path(path).read_bytes() == ROWS
    (folder / f"done-{variables['RANK']}").touch()
    while variables["RANK"] == "0" and len(list(folder.glob("done-*"))) < int(variables["WORLD_SIZE"]):
        time.sleep(0.01)  # a run goes on, and with it the store that the others listen to


@pytest.mark.parametrize("trial", range(3))
def test_one_process_of_all_nodes_downloads(tmp_path: Path, trial: int) -> None:
    with served(ROWS) as (address, asked):
        ranks = [
            _CONTEXT.Process(target=download, args=(address, tmp_path, variables))
            for variables in launched(num_nodes=2, per_node=2)
        ]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(60)

    assert [rank.exitcode for rank in ranks] == [0] * 4
    assert asked == ["/rows.jsonl"]


def test_launchers_that_meet_train_what_one_process_does(make_plan: MakePlan, tmp_path: Path) -> None:
    training = {**TRAINING, "max_steps": 3, "save_steps": 3, "per_device_train_batch_size": 2}
    one = make_plan(training={**training, "gradient_accumulation_steps": 2}, output={"path": str(tmp_path / "one")})
    two = of_size(
        make_plan(training={**training, "gradient_accumulation_steps": 1}, output={"path": str(tmp_path / "two")}), 2
    )
    nodes = NodeRuns([two, two], tmp_path)
    run_plan(one, RunOptions("cpu", show_progress=False))
    ended = nodes.end()

    assert [node.returncode for node in ended] == [0, 0], ended
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert [f"kaitoc: node {node} of 2, rank {node}, meeting at" in run.stderr for node, run in enumerate(ended)] == [
        True,
        True,
    ]


def test_a_lost_node_ends_the_other_and_the_run_goes_on_as_if_nothing_had_been(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    training = {**TRAINING, "max_steps": 6, "save_steps": 2}
    alone, lost = (
        of_size(make_plan(training=training, lora={"lora_dropout": 0.1}, output={"path": str(tmp_path / name)}), 2)
        for name in ("alone", "lost")
    )
    assert [node.returncode for node in NodeRuns([alone, alone], tmp_path / "runs").end()] == [0, 0]

    killed_at = ("kaitoc.runtime.training.callbacks.MetricsCallback.on_log", 4)
    nodes = NodeRuns([lost, lost], tmp_path / "runs", "--resume", kill_last_at=killed_at)
    killed = [node.returncode for node in nodes.end()]
    resumed = [node.returncode for node in NodeRuns([lost, lost], tmp_path / "runs", "--resume").end()]

    assert (killed, resumed) == ([1, 1], [0, 0])
    assert losses(lost) == losses(alone)
    ours, theirs = (weights(Path(plan.output.path)) for plan in (lost, alone))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_node_that_waits_for_others_ends_on_sigterm(make_plan: MakePlan, tmp_path: Path) -> None:
    run = ChildRun(
        of_size(make_plan(), 2), tmp_path, PET_NNODES="2", PET_NPROC_PER_NODE="1", PET_NODE_RANK="0",
        PET_MASTER_ADDR="127.0.0.1", PET_MASTER_PORT=str(free_port()),
    )  # fmt: skip
    while not run.has_started() or (run.is_alive() and "node 0 of 2" not in (tmp_path / "stderr").read_text()):
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)

    ended = run.end()

    assert ended.returncode == 143
    assert "stopped by SIGTERM before training began" in ended.stderr


def test_a_frozen_node_ends_the_other(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = of_size(make_plan(training={**TRAINING, "max_steps": 300}, output={"path": str(tmp_path / "out")}), 2)
    nodes = NodeRuns([plan, plan], tmp_path / "runs", KAITOC_SILENCE_SECONDS="5")
    first, second = nodes
    first.wait_for_step()
    thaw = freeze_node(first)

    ended = second.end()
    thaw()

    assert (ended.returncode, first.end().returncode) == (1, 1)
    assert "node 0 gave no sign of life for 5 s: it froze, or the network between the nodes is cut" in ended.stderr


def test_a_bad_plan_ends_both_launchers_with_2(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = of_size(make_plan(), 3)

    ended = ChildRun(plan, tmp_path, PET_NNODES="2", PET_NPROC_PER_NODE="1", PET_NODE_RANK="0").end()

    assert ended.returncode == 2
    assert "the plan is for 3 processes, but the environment says 2 x 1" in ended.stderr


def test_auto_fit_is_refused_where_each_process_would_try_by_itself(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = of_size(make_plan(), 2)

    ended = ChildRun(plan, tmp_path, "--auto-fit", RANK="0", LOCAL_RANK="0", WORLD_SIZE="2").end()

    assert ended.returncode == 2
    assert "--auto-fit is incompatible with a launcher" in ended.stderr
