"""Several processes: two with gloo on this CPU train what one with twice the accumulation does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
TRAINING = {"max_steps": 5, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}


def launch(plan: Plan, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a plan as `python -m kaitoc.runtime` does."""
    file = folder / "two.json"
    file.write_text(plan.to_json())
    command = [sys.executable, "-m", "kaitoc.runtime", str(file), "--device", "cpu", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


def in_two(plan: Plan) -> Plan:
    return plan.model_copy(update={"num_processes": 2})


def losses(plan: Plan) -> list[float]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def test_two_processes_train_what_one_with_twice_the_accumulation_does(make_plan: MakePlan, tmp_path: Path) -> None:
    training = {**TRAINING, "per_device_train_batch_size": 2}
    two = in_two(
        make_plan(training={**training, "gradient_accumulation_steps": 1}, output={"path": str(tmp_path / "two")})
    )
    one = make_plan(training={**training, "gradient_accumulation_steps": 2}, output={"path": str(tmp_path / "one")})

    result = launch(two, tmp_path)
    run_plan(one, RunOptions("cpu", show_progress=False))

    assert result.returncode == 0, result.stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert result.stdout.count("predicted") == 1
    assert (tmp_path / "two" / "fine_tuning_completed.txt").exists()
    assert (tmp_path / "two" / "checkpoints" / "checkpoint-5" / "checksums.json").exists()


def test_a_failure_in_several_processes_is_still_one_message(make_plan: MakePlan, tmp_path: Path) -> None:
    result = launch(in_two(make_plan(data={"paths": [str(tmp_path / "none")]})), tmp_path)

    assert result.returncode == 2
    assert result.stderr.count("kaitoc:") == 1
    assert "Traceback" not in result.stderr


def test_torchrun_starts_the_processes_just_as_well(make_plan: MakePlan, tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    file.write_text(in_two(make_plan()).to_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    result = subprocess.run(
        [*command, "-m", "kaitoc.runtime", str(file), "--device", "cpu"],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert (tmp_path / "results" / "fine_tuning_completed.txt").exists()


def test_sigterm_to_the_launcher_saves_a_checkpoint_and_ends_with_143(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = in_two(make_plan(training={"max_steps": 100_000, "save_strategy": "steps", "save_steps": 50_000}))
    file = tmp_path / "two.json"
    file.write_text(plan.to_json())
    process = subprocess.Popen(
        [sys.executable, "-m", "kaitoc.runtime", str(file), "--device", "cpu"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = tmp_path / "results" / "metrics.jsonl"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None and not metrics.exists():
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 143, errors
    assert errors.count("asked to stop at step") == 1
    assert list((tmp_path / "results" / "checkpoints").glob("checkpoint-*/checksums.json"))
