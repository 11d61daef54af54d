"""Several processes: two with gloo on this CPU train what one with twice the accumulation does.

The launcher starts them by their command. `make soak` has `torchrun` start them, whose variables are those that the
tests of sharding set.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from child_runs import ChildRun

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import checkpoints, is_whole

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
TRAINING = {"max_steps": 5, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}


def in_two(plan: Plan) -> Plan:
    return plan.model_copy(update={"num_processes": 2})


def entries(plan: Plan) -> list[dict[str, float]]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if "loss" in entry]


def losses(plan: Plan) -> list[float]:
    return [entry["loss"] for entry in entries(plan)]


def test_two_processes_train_what_one_with_twice_the_accumulation_does(make_plan: MakePlan, tmp_path: Path) -> None:
    training = {**TRAINING, "per_device_train_batch_size": 2}
    two = in_two(
        make_plan(training={**training, "gradient_accumulation_steps": 1}, output={"path": str(tmp_path / "two")})
    )
    one = make_plan(training={**training, "gradient_accumulation_steps": 2}, output={"path": str(tmp_path / "one")})

    launched = ChildRun(two, tmp_path / "child").end()
    run_plan(one, RunOptions("cpu", show_progress=False))

    assert launched.returncode == 0, launched.stderr
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert launched.stdout.count("predicted") == 1
    for entry in entries(two):
        assert entry["tokens_per_second"] * entry["seconds"] == pytest.approx(entry["num_tokens"], rel=1e-2)
    assert (tmp_path / "two" / "fine_tuning_completed.txt").exists()
    assert (tmp_path / "two" / "checkpoints" / "checkpoint-5" / "checksums.json").exists()


def test_a_failure_in_several_processes_is_still_one_message(make_plan: MakePlan, tmp_path: Path) -> None:
    launched = ChildRun(in_two(make_plan(data={"paths": [str(tmp_path / "none")]})), tmp_path / "child").end()

    assert launched.returncode == 2
    assert launched.stderr.count("kaitoc:") == 1
    assert "Traceback" not in launched.stderr


def test_sigterm_to_the_launcher_saves_a_checkpoint_and_ends_with_143(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = in_two(make_plan(training={"max_steps": 100_000, "save_strategy": "steps", "save_steps": 50_000}))
    output = Path(plan.output.path)
    launcher = ChildRun(plan, tmp_path / "child")
    launcher.wait_for_step()
    launcher.send_signal(signal.SIGTERM)
    ended = launcher.end()

    assert ended.returncode == 143, ended.stderr
    assert ended.stderr.count("asked to stop at step") == 1
    (folder,) = checkpoints(output / "checkpoints")
    assert is_whole(folder)
