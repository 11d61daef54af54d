"""Several processes: two with gloo on this CPU train what one with twice the accumulation does.

In one test the launcher starts them by their command. `make soak` has `torchrun` start them, whose variables are those
that the tests of sharding set.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from child_runs import ChildRun
from safetensors.torch import load_file

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import checkpoints, is_whole

pytestmark = [pytest.mark.runtime, pytest.mark.slow]
MakePlan = Callable[..., Plan]
UNEVEN = {"train_fraction": 17 / 24}
"""Of 17 rows in batches of two the last batch of an epoch has one, and there is none for the second process; so it is
with the 7 others in the batches of three of an evaluation."""
TRAINING = {"max_steps": 5, "learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 5}
EVALUATION = {"eval_strategy": "epoch", "per_device_eval_batch_size": 3}
TWO_EPOCHS = {**TRAINING, **EVALUATION, "max_steps": -1, "num_train_epochs": 2}


def in_two(plan: Plan) -> Plan:
    return plan.model_copy(update={"num_processes": 2})


def entries(plan: Plan, loss: str = "loss") -> list[dict[str, float]]:
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if loss in entry]


def losses(plan: Plan, loss: str = "loss") -> list[float]:
    return [entry[loss] for entry in entries(plan, loss)]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def test_two_processes_train_what_one_with_twice_the_accumulation_does(make_plan: MakePlan, tmp_path: Path) -> None:
    def plan_of(name: str, num_accumulated: int) -> Plan:
        training = {**TWO_EPOCHS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": num_accumulated}
        return make_plan(training=training, data=UNEVEN, output={"path": str(tmp_path / name)})

    two, one = in_two(plan_of("two", 1)), plan_of("one", 2)

    launched = ChildRun(two, tmp_path / "child", by_command=True).end()
    run_plan(one, RunOptions("cpu", show_progress=False))

    assert launched.returncode == 0, launched.stderr
    assert (len(losses(one)), len(losses(one, "eval_loss"))) == (10, 2)
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert losses(two, "eval_loss") == pytest.approx(losses(one, "eval_loss"), abs=1e-4)
    ours, expected = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert all(torch.allclose(ours[name], expected[name], atol=1e-5) for name in expected)
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
