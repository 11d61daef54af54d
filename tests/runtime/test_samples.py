"""Answers after training: those that training should have taught, with the adapter and without it, in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.observe.samples import _split

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
CPU = RunOptions("cpu", show_progress=False)
ANSWER = "a wrong key"


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "What does a rule find?", "completion": f" {ANSWER}"}) + "\n")
    return {"paths": [str(path)]}


@pytest.mark.parametrize("lora", [{"r": 8}, None], ids=["lora", "full"])
def test_the_report_tells_what_was_learned_beside_what_the_base_model_says(
    make_plan: MakePlan, data: dict[str, Any], lora: dict[str, Any] | None
) -> None:
    plan = make_plan(data=data, lora=lora, training={"max_steps": 60, "logging_steps": 60}, output={"samples": 3})
    report = run_plan(plan, CPU)
    (sample,) = report.samples

    assert (sample.prompt, sample.expected, sample.answer) == ("What does a rule find?", ANSWER, ANSWER)
    assert (sample.without_adapter is None) == (lora is None)
    assert sample.without_adapter != ANSWER
    assert f"answer            {ANSWER}" in report.to_text()
    assert ANSWER in (Path(plan.output.path) / "report.html").read_text()
    assert run_plan(plan, RunOptions("cpu", resume=True, show_progress=False)).samples == report.samples


def test_a_run_whose_model_cannot_answer_is_a_finished_run(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("transformers.generation.utils.GenerationMixin.generate", fails)

    assert run_plan(make_plan(output={"samples": 1}), CPU).samples == ()
    assert "samples: no answers: CUDA out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "prompt", "answer"),
    [
        ([-100, -100, 3, 4], [1, 2], [3, 4]),
        ([-100, 2, 3, -100], [1], [2, 3]),
        ([1, 2, 3, 4], [1, 2], [3, 4]),
    ],
    ids=["a prompt", "the first of several answers", "a text"],
)
def test_a_row_is_a_prompt_and_its_answer(labels: list[int], prompt: list[int], answer: list[int]) -> None:
    assert _split([1, 2, 3, 4], labels) == (prompt, answer)
