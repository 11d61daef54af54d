"""What the passes say of their changes, held to real runs: losses and live memory of a tiny model before and after.

The fixture pairs of `execution.json` are compiled and both sides are run by the bundled runtime in float32 on a CPU,
with the same seed. The model, the data and the lengths are small, everything else is what the manifests say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from samples import sample

pytest.importorskip("torch")

from test_pass_fixtures import EXECUTED, FOLDER, compiled, pass_of

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.observe.report import RunReport

TINY = Path(__file__).parents[1] / "runtime"
EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_TOKENS = 192
NUM_STEPS = 2
EXACT_RTOL = 1e-4
LEARNED_SHARE = 0.02

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.no_cover]


@dataclass(frozen=True, slots=True)
class Run:
    report: RunReport
    losses: list[float]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Phi-3 of four layers, whose activations outweigh its weights."""
    for folder in (TINY, EXAMPLES):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    from build_tiny_model import build_tokenizer
    from tiny_phi3 import save_tiny_phi3

    folder = tmp_path_factory.mktemp("executed") / "model"
    save_tiny_phi3(folder, build_tokenizer(), num_layers=4, hidden_size=128)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of many lengths, the longest above the cut."""
    path = tmp_path_factory.mktemp("data") / "texts.jsonl"
    texts = [f"Text {n} has words, one after another. " * (8 + n % 8) for n in range(24)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def execute(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, Overrides, str], Run]:
    """A function that runs a manifest's text on the tiny model."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    def run(text: str, overrides: Overrides, name: str) -> Run:
        plan = made_small(plan_of_text(text, overrides, model, data, tmp_path / name))
        report = run_plan(plan, RunOptions("cpu", show_progress=False))
        lines = (tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return Run(report, [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry])

    return run


def plan_of_text(text: str, overrides: Overrides, model: Path, data: Path, output: Path) -> Plan:
    engine = Engine(RuleSet(), overrides, SettingsFinder(isolated=True))
    engine.library.add_source(Source("before.yaml", text))
    (job,) = engine.jobs_of(engine.library.add_given("before.yaml"))
    return plan_of(job, model_path=str(model), data=str(data), output=str(output))


def made_small(plan: Plan) -> Plan:
    """Return a plan for float32 on a CPU, of few steps and short texts; the choices of the passes stay."""
    parts: dict[str, Any] = plan.model_dump()
    parts["model"]["dtype"] = "float32"
    parts["quantization"]["compute_dtype"] = "float32"
    parts["data"]["max_length"] = min(MAX_TOKENS, parts["data"]["max_length"])
    parts["training"].update(
        bf16=False, learning_rate=1e-2, max_steps=NUM_STEPS, logging_steps=1, save_strategy="no", seed=7,
    )  # fmt: skip
    return Plan.model_validate(parts)


@pytest.mark.parametrize("pair", sample(EXECUTED, 6), ids=lambda pair: str(pair["case"]))
def test_both_sides_of_a_change_do_what_its_mark_says(
    pair: dict[str, Any], execute: Callable[[str, Overrides, str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = FOLDER / pair["case"]
    before = (case / "before.yaml").read_text(encoding="utf-8")
    after = compiled(Source("before.yaml", before), pass_of(case), monkeypatch).files[0].text
    overrides = Overrides(target="bundled", attention="eager" if "--attention eager" in before else None)

    one, other = execute(before, overrides, "before"), execute(after, overrides, "after")

    assert_same_losses(pair, one.losses, other.losses)
    assert_moves(pair["peak"], one.report, other.report)


def assert_same_losses(pair: dict[str, Any], one: list[float], other: list[float]) -> None:
    """Hold losses to the pair's mark, and to a change that is worth comparing: the model learns."""
    bound = pair.get("bound", {"of": "each step", "rtol": EXACT_RTOL})

    assert len(one) == len(other) == NUM_STEPS
    assert one[-1] < one[0] * (1 - LEARNED_SHARE)
    if bound["of"] == "epoch":
        one, other = [mean(one)], [mean(other)]
    assert one == pytest.approx(other, rel=bound["rtol"])


def assert_moves(direction: str | None, one: RunReport, other: RunReport) -> None:
    """Hold the measured peak to the direction that is predicted for the manifest's model, and for the tiny one."""
    measured = sign(other.measured_allocated_bytes, one.measured_allocated_bytes)

    assert measured == {"lower": -1, "higher": 1}.get(direction or "", measured)
    if direction is not None:
        assert measured == sign(other.predicted_allocated_bytes, one.predicted_allocated_bytes)


def sign(left: int | None, right: int | None) -> int:
    assert left is not None
    assert right is not None
    return (left > right) - (left < right)


def test_every_statistical_pair_states_its_bound_and_no_exact_one_does() -> None:
    assert {pair["case"] for pair in EXECUTED if "bound" in pair} == {
        pair["case"] for pair in EXECUTED if pair["preserves"] == "statistical"
    }
