"""A disk that is full at some moment: nothing that was saved is lost, and `--resume` ends as if it had not been."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from short_plan import short_plan

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import OutputFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import newest_whole
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.training.explain import explained

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
TRAINING = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}
NOTES = ("notes.txt", "checkpoints/notes.txt")


def losses(output: Path) -> dict[int, float]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines) if "loss" in entry}


def run(plan: Plan, *, resume: bool = False) -> dict[int, float]:
    run_plan(plan, RunOptions("cpu", resume, show_progress=False))
    return losses(Path(plan.output.path))


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, chat_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of a run whose writes succeed."""
    return run(short_plan(tiny_model, chat_data, tmp_path_factory.mktemp("undisturbed") / "r", training=TRAINING))


def fail_at(monkeypatch: pytest.MonkeyPatch, function: str, num_calls: int) -> None:
    """Let a function's call of a number find the disk full."""
    real, calls = resolve_name(function), count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(calls) == num_calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    owner, _, name = function.rpartition(".")
    monkeypatch.setattr(resolve_name(owner), name, counted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "num_calls", "saved_step"),
    [
        ("kaitoc.runtime.training.callbacks.MetricsCallback.on_log", 3, 2),
        ("torch.save", 5, 1),
        ("kaitoc.runtime.training.loop.seal", 3, 2),
        ("kaitoc.runtime.output.adapter.replace_result", 1, 4),
        ("kaitoc.runtime.launch.run.write_reports", 1, 4),
    ],
    ids=["a line of the metrics", "half of a checkpoint", "a checkpoint's seal", "the result", "the report"],
)
def test_a_write_that_fails_loses_nothing(
    make_plan: MakePlan, undisturbed: dict[int, float], monkeypatch: pytest.MonkeyPatch,
    function: str, num_calls: int, saved_step: int,
) -> None:  # fmt: skip
    plan = make_plan(training=TRAINING)
    output = Path(plan.output.path)
    with monkeypatch.context() as patch:
        fail_at(patch, function, num_calls)
        with pytest.raises(OutputFailure, match="No space left on device"):
            run(plan)

    newest = newest_whole(output / "checkpoints")
    assert newest is not None
    assert newest.name == f"checkpoint-{saved_step}"
    assert not (output / COMPLETED).exists()
    for note in NOTES:
        (output / note).write_text(note)
    assert run(plan, resume=True) == undisturbed
    assert (output / COMPLETED).exists()
    assert [(output / note).read_text() for note in NOTES] == list(NOTES)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_disk_that_is_full_when_the_tokenizer_is_saved_is_told_as_such(make_plan: MakePlan, tokenizer: Any) -> None:
    """tokenizers raises a plain exception, here on a device that is always full."""
    with pytest.raises(OutputFailure, match="results: No space left on device"), explained(make_plan()):
        tokenizer.backend_tokenizer.save("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_disk_that_is_full_when_pytorch_saves_is_told_as_such(make_plan: MakePlan, tmp_path: Path) -> None:
    """Its writer loses what the system says, and tells of positions in a file."""
    (tmp_path / "results").mkdir(exist_ok=True)
    told = r"results: cannot be written: PyTorch's writer failed with [\d,]+ MiB free"

    with pytest.raises(OutputFailure, match=told), explained(make_plan()):
        torch.save({"state": torch.zeros(100_000)}, "/dev/full")
