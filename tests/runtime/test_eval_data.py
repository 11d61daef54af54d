"""Data for evaluation alone: it is evaluated, and never trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.names import METRICS

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]


@pytest.fixture
def eval_data(tmp_path: Path) -> Path:
    path = tmp_path / "eval.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"q{number}", "completion": "a"}) + "\n" for number in range(5)))
    return path


def test_all_rows_are_trained_on_and_the_others_are_evaluated(make_plan: MakePlan, eval_data: Path) -> None:
    evaluating = {"eval_strategy": "steps", "eval_steps": 2}
    plan = make_plan(data={"eval_paths": [str(eval_data)]}, training=evaluating)

    report = run_plan(plan, RunOptions("cpu", show_progress=False))
    entries = [json.loads(line) for line in (Path(plan.output.path) / METRICS).read_text().splitlines()]

    assert report.num_examples == 24
    assert sum("eval_loss" in entry for entry in entries) == 2


def test_data_that_nothing_evaluates_is_refused(make_plan: MakePlan, eval_data: Path) -> None:
    with pytest.raises(PlanFailure, match="--eval-data is never read: set `eval_strategy: epoch`"):
        run_plan(make_plan(data={"eval_paths": [str(eval_data)]}), RunOptions("cpu", show_progress=False))
