"""Checkpoints on disk: whole or not there, and only of the run that is resumed."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, TrainingPlan
from kaitoc.runtime.failures import RunFailure
from kaitoc.runtime.output.checkpoints import (
    checkpoints,
    is_whole,
    newest_whole,
    require_same_plan,
    seal,
    trim_metrics,
    write_plan,
)
from kaitoc.runtime.output.rotation import finish_removals, remove_damaged, rotate


def checkpoint(folder: Path, step: int) -> Path:
    """A sealed checkpoint of two files, one of them in a sub-folder."""
    path = folder / f"checkpoint-{step}"
    (path / "part").mkdir(parents=True)
    (path / "adapter_model.bin").write_bytes(b"w" * 5000)
    (path / "part" / "state.json").write_text("{}")
    seal(path)
    return path


def plan(output: Path, **training: Any) -> Plan:
    return Plan(
        name="test",
        model=ModelPlan(path="model"),
        lora=LoraPlan(),
        data=DataPlan(paths=("data",)),
        training=TrainingPlan(**training),
        output=OutputPlan(path=str(output)),
        provenance=Provenance(kaitoc_version="0"),
    )


def test_a_sealed_checkpoint_is_whole(tmp_path: Path) -> None:
    assert is_whole(checkpoint(tmp_path, 1))


def test_a_checkpoint_without_its_seal_is_not_whole(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    (path / "checksums.json").unlink()

    assert not is_whole(path)


@pytest.mark.parametrize("damage", ["cut", "change", "remove"])
def test_a_damaged_checkpoint_is_not_whole(tmp_path: Path, damage: str) -> None:
    path = checkpoint(tmp_path, 1)
    weights = path / "adapter_model.bin"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "change":
        weights.write_bytes(b"x" + weights.read_bytes()[1:])
    else:
        (path / "part" / "state.json").unlink()

    assert not is_whole(path)


def test_the_newest_whole_checkpoint_is_resumed_from(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-100" / "adapter_model.bin").unlink()

    assert newest_whole(tmp_path) == tmp_path / "checkpoint-10"


def test_there_is_nothing_to_resume_from_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "none") is None


def test_the_oldest_checkpoints_go_and_the_best_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint(tmp_path, step)

    rotate(tmp_path, 2, keep=str(tmp_path / "checkpoint-1"))

    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-3", "checkpoint-1"]


def test_what_the_user_puts_into_a_checkpoint_neither_damages_it_nor_goes_with_it(tmp_path: Path) -> None:
    for step in (1, 2):
        (checkpoint(tmp_path, step) / "notes.txt").write_text("the best so far")
    assert is_whole(tmp_path / "checkpoint-1")

    rotate(tmp_path, 1, keep=None)

    assert [file.name for file in (tmp_path / "checkpoint-1").iterdir()] == ["notes.txt"]
    assert checkpoints(tmp_path) == [tmp_path / "checkpoint-2"]


@pytest.mark.parametrize("num_calls", [1, 2, 3])
def test_a_removal_that_is_cut_off_leaves_no_damaged_checkpoint_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_calls: int
) -> None:
    """A run that has saved its last checkpoint removes the oldest; killed then, it is resumed and saves no more."""
    for step in (1, 2):
        checkpoint(tmp_path, step)
    real, calls = Path.unlink, count(1)

    def killed(path: Path, missing_ok: bool = False) -> None:
        if next(calls) == num_calls:
            raise KeyboardInterrupt
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(tmp_path, 1, keep=None)
    assert checkpoints(tmp_path) == [tmp_path / "checkpoint-2"]

    finish_removals(tmp_path)

    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoint-2"]


def test_damaged_checkpoints_go_without_those_that_were_saved_again(tmp_path: Path) -> None:
    passed_over = [checkpoint(tmp_path, step) for step in (7, 8)]
    (passed_over[0] / "adapter_model.bin").write_bytes(b"cut off")

    remove_damaged(passed_over)

    assert checkpoints(tmp_path) == [tmp_path / "checkpoint-8"]


def test_metrics_after_the_checkpoint_and_a_cut_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')

    trim_metrics(path, 2)

    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_run_with_another_plan_is_not_resumed(tmp_path: Path) -> None:
    write_plan(plan(tmp_path), tmp_path)

    with pytest.raises(RunFailure, match=r"`training.learning_rate` was 2e-05 and is now 0.1"):
        require_same_plan(plan(tmp_path, learning_rate=0.1), tmp_path)


def test_a_run_may_be_resumed_in_another_folder(tmp_path: Path) -> None:
    write_plan(plan(tmp_path / "before"), tmp_path)

    require_same_plan(plan(tmp_path), tmp_path)


def test_a_folder_without_a_plan_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match="cannot tell which run to resume"):
        require_same_plan(plan(tmp_path), tmp_path)
