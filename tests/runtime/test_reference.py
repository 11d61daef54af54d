"""The runtime trains what a plain trl and peft script with the same arguments trains."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import reference_sft

from kaitoc.compiler.plan.plan import (
    DataPlan,
    LoraPlan,
    ModelPlan,
    OutputPlan,
    Plan,
    Provenance,
    QuantizationPlan,
    TrainingPlan,
)
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan

pytestmark = [pytest.mark.runtime, pytest.mark.slow, pytest.mark.no_cover]


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    path = tmp_path / "completions.jsonl"
    lines = [
        {"prompt": f"What does rule {number} find? ", "completion": "A wrong key. " * (1 + number % 4)}
        for number in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def plan(model: Path, data: DataPlan, output: Path, *, quantized: bool, checkpointing: bool, **more: Any) -> Plan:
    """The plan that says what the reference script says."""
    return Plan(
        name="reference",
        model=ModelPlan(path=str(model), dtype="float32"),
        quantization=QuantizationPlan(
            method="nf4" if quantized else "none", compute_dtype="float32", double_quant=True
        ),
        lora=LoraPlan(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=tuple(reference_sft.TARGETS)),
        data=data,
        training=TrainingPlan(**{**reference_sft.ARGUMENTS, "gradient_checkpointing": checkpointing, **more}),
        output=OutputPlan(path=str(output)),
        provenance=Provenance(kaitoc_version="0"),
    )  # fmt: skip


def losses(plan: Plan) -> list[float]:
    """The loss of each step of a run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_plan(plan, RunOptions(device="cpu", show_progress=False))
    lines = (Path(plan.output.path) / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def reference(*arguments: Any, **options: Any) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reference_sft.train(*arguments, **options)


@pytest.mark.parametrize("quantized", [False, True], ids=["lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_losses_are_those_of_a_plain_script(
    tiny_model: Path, completions: Path, tmp_path: Path, quantized: bool, checkpointing: bool
) -> None:
    expected = reference(
        tiny_model, completions, tmp_path / "reference", quantized=quantized, checkpointing=checkpointing
    )
    data = DataPlan(paths=(str(completions),), shuffle=False, max_length=reference_sft.MAX_LENGTH)
    found = losses(plan(tiny_model, data, tmp_path / "run", quantized=quantized, checkpointing=checkpointing))

    assert len(found) == reference_sft.ARGUMENTS["max_steps"]
    assert found == pytest.approx(expected, rel=1e-3)


def test_losses_over_whole_conversations_are_those_of_a_plain_script(
    tiny_model: Path, chat_data: Path, tmp_path: Path
) -> None:
    expected = reference(tiny_model, chat_data, tmp_path / "reference", quantized=False, checkpointing=False)
    data = DataPlan(
        paths=(str(chat_data),), shuffle=False, max_length=reference_sft.MAX_LENGTH, assistant_only_loss=False
    )
    found = losses(plan(tiny_model, data, tmp_path / "run", quantized=False, checkpointing=False))

    assert found == pytest.approx(expected, rel=1e-3)
