"""The main job, end to end: the demo's manifest is compiled and trained, and its adapter works."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")

from kaitoc.compiler.cli import cli

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

pytestmark = [pytest.mark.runtime, pytest.mark.slow]


PRETRAINING_STEPS, STEPS, NUM_ROWS = 8, 24, 1


def kaitoc(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a short form of the demo ran: compiled/, model/ and results/; `make soak` runs all of it."""
    import build_tiny_model

    folder = tmp_path_factory.mktemp("demo")
    tokenizer = build_tiny_model.build_tokenizer()
    model = build_tiny_model.build_model(len(tokenizer))
    build_tiny_model.pretrain(model, tokenizer, PRETRAINING_STEPS)
    build_tiny_model.save(model, tokenizer, folder / "model")
    assert kaitoc("compile", str(EXAMPLES / "demo.yaml"), "-o", str(folder / "compiled")).exit_code == 0
    compiled = folder / "compiled" / "demo.yaml"
    compiled.write_text(compiled.read_text().replace("num_train_epochs: 2", f"max_steps: {STEPS}"))
    rows = build_tiny_model.DATA.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(rows[:NUM_ROWS]), encoding="utf-8")
    result = kaitoc(
        "run", str(compiled), "--model-path", str(folder / "model"),
        "--data", str(folder / "rows.jsonl"), "--output", str(folder / "results"), "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_check_finds_the_modules_that_the_demo_would_not_train() -> None:
    result = kaitoc("check", str(EXAMPLES / "demo.yaml"), "--format", "concise")

    assert "KT401" in result.stdout


def test_the_loss_falls(demo: Path) -> None:
    """By 7 percent in this short form; by more than 40 in the whole."""
    lines = (demo / "results" / "metrics.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]

    assert losses[-1] < 0.95 * losses[0]


def test_the_report_sets_measured_beside_predicted_memory(demo: Path) -> None:
    report = json.loads((demo / "results" / "report.json").read_text())
    text = (demo / "stdout.txt").read_text()

    assert report["measured_allocated_bytes"] > 0
    assert report["predicted_allocated_bytes"] > 0
    assert "predicted" in text
    assert "measured" in text


def test_the_adapter_trains_every_fused_layer(demo: Path) -> None:
    config = json.loads((demo / "results" / "adapter" / "adapter_config.json").read_text())

    assert sorted(config["target_modules"]) == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_reloaded_adapter_reproduces_its_logits(demo: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logits(adapter: Path | None) -> torch.Tensor:
        model = AutoModelForCausalLM.from_pretrained(demo / "model", dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        with torch.no_grad():
            found: torch.Tensor = model(torch.arange(5, 37).unsqueeze(0)).logits
        return found

    adapter = demo / "results" / "adapter"
    first, second, base = logits(adapter), logits(adapter), logits(None)

    assert torch.equal(first, second)
    assert not torch.allclose(first, base, atol=1e-3)


def test_kaito_s_pusher_finds_its_completion_marker(demo: Path) -> None:
    assert (demo / "results" / "fine_tuning_completed.txt").exists()
    assert not list((demo / "results").glob(".*.unfinished"))


def test_a_dry_run_prints_the_plan_without_model_or_data() -> None:
    result = kaitoc("run", str(EXAMPLES / "demo.yaml"), "--dry-run")

    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert plan["version"] == 1
    assert plan["quantization"]["method"] == "nf4"


def test_the_demo_s_data_is_what_the_rules_say() -> None:
    import build_data

    assert build_data.DATA.read_text(encoding="utf-8") == "\n".join(build_data.rows()) + "\n"
    assert len(build_data.rows()) >= 150
