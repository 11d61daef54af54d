"""Runs that end early: asked to by SIGTERM, killed at any moment, resumed, and what resuming refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import is_whole
from kaitoc.runtime.output.names import COMPLETED

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
NUM_STEPS = 12
TRAINING = {"max_steps": NUM_STEPS, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
DROPOUT = {"lora_dropout": 0.2}


def losses(output: Path) -> dict[int, float]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


def run(plan: Plan, *, resume: bool = False, overwrite: bool = False) -> dict[int, float]:
    run_plan(plan, RunOptions("cpu", resume, overwrite, show_progress=False))
    return losses(Path(plan.output.path))


def start(plan: Plan, folder: Path, *arguments: str, in_own_group: bool = False) -> subprocess.Popen[str]:
    file = folder / "plan.json"
    file.write_text(plan.to_json())
    command = [sys.executable, "-m", "kaitoc.runtime", str(file), "--device", "cpu", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=in_own_group,
    )  # fmt: skip


def wait_for_step(process: subprocess.Popen[str], output: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        path = output / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.01)


@pytest.fixture
def uninterrupted(make_plan: MakePlan, tmp_path: Path) -> dict[int, float]:
    """The losses of a run that nothing interrupts."""
    return run(make_plan(lora=DROPOUT, training=TRAINING, output={"path": str(tmp_path / "whole")}))


def test_a_resumed_run_continues_bit_by_bit(
    make_plan: MakePlan, uninterrupted: dict[int, float], tmp_path: Path
) -> None:
    plan = make_plan(lora=DROPOUT, training=TRAINING)
    whole = tmp_path / "whole" / "checkpoints" / f"checkpoint-{NUM_STEPS - 2}"
    (Path(plan.output.path) / "checkpoints").mkdir(parents=True)
    os.rename(whole, Path(plan.output.path) / "checkpoints" / whole.name)
    (tmp_path / "whole" / "plan.json").rename(Path(plan.output.path) / "plan.json")
    (Path(plan.output.path) / "metrics.jsonl").write_text((tmp_path / "whole" / "metrics.jsonl").read_text())

    assert run(plan, resume=True) == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_killed_run_leaves_nothing_corrupt_and_ends_as_if_it_had_not_been(
    make_plan: MakePlan, uninterrupted: dict[int, float], tmp_path: Path, step: int
) -> None:
    plan = make_plan(lora=DROPOUT, training=TRAINING)
    output = Path(plan.output.path)
    process = start(plan, tmp_path)
    wait_for_step(process, output, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert not (output / COMPLETED).exists()
    assert run(plan, resume=True) == uninterrupted
    assert all(is_whole(folder) for folder in (output / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_saves_a_checkpoint_and_exits_143(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(training={"max_steps": 2000})
    output = Path(plan.output.path)
    process = start(plan, tmp_path)
    wait_for_step(process, output, 3)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 143, stderr
    assert "--resume" in stderr
    assert all(is_whole(folder) for folder in (output / "checkpoints").iterdir())
    assert not (output / COMPLETED).exists()


def test_a_damaged_checkpoint_is_passed_over_for_an_older_whole_one(
    make_plan: MakePlan, uninterrupted: dict[int, float], tmp_path: Path
) -> None:
    output = tmp_path / "whole"
    newest = output / "checkpoints" / f"checkpoint-{NUM_STEPS}"
    (newest / "adapter_model.safetensors").write_bytes(b"cut off")
    (output / COMPLETED).unlink()

    plan = make_plan(lora=DROPOUT, training=TRAINING, output={"path": str(output)})

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
