"""Runs that end early: asked to by SIGTERM, killed at any moment, resumed, and what resuming refuses."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from child_runs import ChildRun
from short_plan import short_plan

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import checkpoints, is_whole
from kaitoc.runtime.output.names import COMPLETED

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
NUM_STEPS = 12
TRAINING = {"max_steps": NUM_STEPS, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
DROPOUT = {"lora_dropout": 0.2}
LAST_TWO = [f"checkpoint-{NUM_STEPS}", f"checkpoint-{NUM_STEPS - 2}"]


def losses(output: Path) -> dict[int, float]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


def run(plan: Plan, *, resume: bool = False, overwrite: bool = False) -> dict[int, float]:
    run_plan(plan, RunOptions("cpu", resume, overwrite, show_progress=False))
    return losses(Path(plan.output.path))


@pytest.fixture(scope="module")
def whole(tiny_model: Path, chat_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that nothing interrupts."""
    output = tmp_path_factory.mktemp("whole") / "results"
    run(short_plan(tiny_model, chat_data, output, lora=DROPOUT, training=TRAINING))
    return output


@pytest.fixture
def uninterrupted(whole: Path) -> dict[int, float]:
    """The losses of a run that nothing interrupts."""
    return losses(whole)


def test_a_resumed_run_continues_bit_by_bit(make_plan: MakePlan, whole: Path) -> None:
    plan = make_plan(lora=DROPOUT, training=TRAINING)
    output = Path(plan.output.path)
    shutil.copytree(whole, output, ignore=shutil.ignore_patterns(f"checkpoint-{NUM_STEPS}", "adapter", COMPLETED))

    assert run(plan, resume=True) == losses(whole)
    assert (output / COMPLETED).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        ("kaitoc.runtime.training.callbacks.MetricsCallback.on_log", 2),
        ("kaitoc.runtime.training.callbacks.MetricsCallback.on_log", 6),
        ("kaitoc.runtime.training.loop.seal", 4),
        ("kaitoc.runtime.training.loop.rotate", 4),
    ],
    ids=["after step 1", "after step 5", "before checkpoint 8 is sealed", "before older checkpoints go"],
)
def test_a_killed_run_leaves_nothing_corrupt_and_ends_as_if_it_had_not_been(
    make_plan: MakePlan, uninterrupted: dict[int, float], tmp_path: Path, moment: tuple[str, int]
) -> None:
    """`make soak` kills runs at moments drawn at random."""
    plan = make_plan(lora=DROPOUT, training=TRAINING)
    output = Path(plan.output.path)

    assert ChildRun(plan, tmp_path / "child", kill_at=moment).end().returncode == -signal.SIGKILL
    assert not (output / COMPLETED).exists()
    assert run(plan, resume=True) == uninterrupted
    assert [folder.name for folder in checkpoints(output / "checkpoints")] == LAST_TWO
    assert all(map(is_whole, checkpoints(output / "checkpoints")))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_stop_saves_a_checkpoint_and_exits_143(
    make_plan: MakePlan, tmp_path: Path, number: signal.Signals
) -> None:
    plan = make_plan(training={"max_steps": 100_000})
    output = Path(plan.output.path)
    child = ChildRun(plan, tmp_path / "child")
    child.wait_for_step()
    child.send_signal(number)
    ended = child.end()

    assert ended.returncode == 143, ended.stderr
    assert "--resume" in ended.stderr
    (folder,) = checkpoints(output / "checkpoints")
    assert is_whole(folder)
    assert not (output / COMPLETED).exists()


def test_a_damaged_checkpoint_is_passed_over_for_an_older_whole_one(
    make_plan: MakePlan, whole: Path, uninterrupted: dict[int, float]
) -> None:
    plan = make_plan(lora=DROPOUT, training=TRAINING)
    output = Path(shutil.copytree(whole, plan.output.path))
    newest = output / "checkpoints" / f"checkpoint-{NUM_STEPS}"
    (newest / "adapter_model.safetensors").write_bytes(b"cut off")
    (output / COMPLETED).unlink()

    assert run(plan, resume=True) == uninterrupted


def test_a_checkpoint_of_another_plan_is_not_resumed(make_plan: MakePlan) -> None:
    run(make_plan(training={**TRAINING, "max_steps": 2}))

    with pytest.raises(RunFailure, match=r"learning_rate"):
        run(make_plan(training={**TRAINING, "max_steps": 2, "learning_rate": 1e-4}), resume=True)


def test_resuming_without_a_checkpoint_begins_anew(make_plan: MakePlan) -> None:
    assert sorted(run(make_plan(), resume=True)) == [1, 2, 3, 4]


def test_a_run_that_overwrites_leaves_nothing_of_the_run_before(make_plan: MakePlan) -> None:
    run(make_plan(training=TRAINING))
    plan = make_plan()
    found: Any = run(plan, overwrite=True)

    assert sorted(found) == [1, 2, 3, 4]
    assert not list((Path(plan.output.path) / "checkpoints").glob("*"))
