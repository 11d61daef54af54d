"""What a run shows while it trains."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.observe.progress import ProgressCallback

pytestmark = pytest.mark.runtime
LOGS = {"loss": 2.34567, "tokens_per_second": 1234.4, "memory_bytes": 3 << 29}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def state(step: int) -> Any:
    return SimpleNamespace(global_step=step, max_steps=100)


def shown(stream: io.StringIO, *logs: dict[str, Any]) -> str:
    """What a run shows that logs these numbers, one step each."""
    progress = ProgressCallback(stream)
    progress.on_train_begin(None, state(0), None)
    for step, numbers in enumerate(logs, start=1):
        progress.on_log(None, state(step), None, numbers)
        progress.on_step_end(None, state(step), None)
    progress.on_train_end(None, state(len(logs)), None)
    return stream.getvalue()


def test_a_pod_s_log_has_a_plain_line_for_each_logged_step() -> None:
    first, second = shown(io.StringIO(), LOGS, LOGS).splitlines()

    assert first.startswith("step 1/100  loss 2.346  1,234 tokens/s  1.50 GiB  0:0")
    assert first.endswith(" left")
    assert second.startswith("step 2/100  ")


def test_an_evaluation_has_its_line_with_the_perplexity() -> None:
    line = shown(io.StringIO(), {"eval_loss": 2.0, "eval_perplexity": 7.389})

    assert line == "evaluation at step 1: loss 2.000  perplexity 7.39\n"


def test_numbers_that_are_not_logged_are_not_shown() -> None:
    assert shown(io.StringIO(), {"learning_rate": 0.1}) == ""


def test_a_terminal_has_a_bar_with_the_numbers() -> None:
    text = shown(Terminal(), LOGS)

    assert "1/100" in text
    assert "loss 2.346" in text
    assert "1,234 tokens/s" in text


def test_lengths_cut_rows_and_skipped_rows_are_told_before_training(
    make_plan: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "a.jsonl"
    data.write_text('{"text": "short"}\n{"text": "' + "word " * 200 + '"}\nno json\n')
    run_plan(make_plan(data={"paths": [str(data)], "max_length": 32, "skip_bad_rows": True}), RunOptions("cpu"))
    first, device, second, *_ = capsys.readouterr().err.splitlines()

    assert first.startswith("data: 2 examples; tokens per example: p50 ")
    assert "; 1 cut to 32; 1 rows skipped, the first: " in first
    assert f"{data}:3" in first
    assert device == "device: CPU, float32 weights, attention sdpa, loss nll in chunks, 1 process"
    assert second.startswith("step 1/4")
