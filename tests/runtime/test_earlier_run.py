"""Output folders that an earlier run left something in: refused, continued, or replaced without losing a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")


from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import ModelFailure, OutputRefused, PlanFailure
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.output.checkpoints import checkpoints, is_whole, seal
from kaitoc.runtime.output.earlier_run import LEDGER, list_results, remove_earlier_run, replace_result, require_free
from kaitoc.runtime.output.names import COMPLETED

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
OPTIONS = RunOptions("cpu", show_progress=False)
SAVING = {"save_strategy": "steps", "save_steps": 2}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The plan of a run that came to its end, with a note of the user's in each of its folders."""
    folder = tmp_path_factory.mktemp("finished")
    data = folder / "data.jsonl"
    data.write_text('{"text": "a rule finds a wrong key"}\n' * 8)
    plan = Plan.model_validate(
        {
            "name": "finished",
            "model": {"path": str(tiny_model), "dtype": "float32"},
            "lora": {"r": 2},
            "data": {"paths": [str(data)], "max_length": 32},
            "training": {
                "max_steps": 4, "per_device_train_batch_size": 2, "logging_steps": 1, "optim": "adamw_torch",
                "gradient_checkpointing": False, "bf16": False, **SAVING,
            },
            "output": {"path": str(folder / "results")},
            "provenance": {"kaitoc_version": "test"},
        }
    )  # fmt: skip
    run_plan(plan, OPTIONS)
    return plan


@pytest.fixture
def plan(finished: Plan, tmp_path: Path) -> Plan:
    """A copy of the finished run."""
    output = tmp_path / "results"
    shutil.copytree(finished.output.path, output)
    return finished.model_copy(update={"output": finished.output.model_copy(update={"path": str(output)})})


def test_a_run_refuses_the_output_of_another_and_names_both_options(plan: Plan) -> None:
    before = tree(Path(plan.output.path))

    with pytest.raises(OutputRefused, match="--resume continues that run, --overwrite replaces it"):
        run_plan(plan, OPTIONS)
    assert tree(Path(plan.output.path)) == before


def test_files_that_no_run_wrote_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("mine")

    with pytest.raises(OutputRefused, match=r"`report\.json`, which no run of kaitoc wrote; choose another --output"):
        require_free(tmp_path, overwrite=True)


def test_resuming_a_finished_run_tells_its_report_and_changes_no_byte(plan: Plan) -> None:
    before = tree(Path(plan.output.path))

    report = run_plan(plan, replace(OPTIONS, resume=True))

    assert report.num_steps == 4
    assert report.last_loss is not None
    assert tree(Path(plan.output.path)) == before


def test_resuming_a_finished_run_with_merge_only_merges(plan: Plan) -> None:
    output = Path(plan.output.path)
    before = tree(output)
    merging = plan.model_copy(update={"output": plan.output.model_copy(update={"merge": True})})

    run_plan(merging, replace(OPTIONS, resume=True))

    after = tree(output)
    assert (output / "merged" / "model.safetensors").is_file()
    assert {name: data for name, data in after.items() if not name.startswith("merged/") and name != LEDGER} == {
        name: data for name, data in before.items() if name != LEDGER
    }


def test_another_plan_does_not_resume_a_finished_run(plan: Plan) -> None:
    other = plan.model_copy(update={"training": plan.training.model_copy(update={"learning_rate": 0.5})})

    with pytest.raises(PlanFailure, match="learning_rate"):
        run_plan(other, replace(OPTIONS, resume=True))
    assert PlanFailure.exit_code == 2


def test_a_run_that_fails_to_load_leaves_the_earlier_one_intact(plan: Plan, tmp_path: Path) -> None:
    before = tree(Path(plan.output.path))
    broken = plan.model_copy(update={"model": plan.model.model_copy(update={"path": str(tmp_path / "none")})})

    with pytest.raises(ModelFailure):
        run_plan(broken, replace(OPTIONS, overwrite=True))
    assert tree(Path(plan.output.path)) == before


def test_overwriting_replaces_what_the_run_wrote_and_nothing_else(plan: Plan) -> None:
    output = Path(plan.output.path)
    notes = {name: output / name / "notes.txt" for name in ("adapter", "checkpoints", "checkpoints/checkpoint-4", ".")}
    for name, file in notes.items():
        file.write_text(f"note in {name}")
    shorter = plan.model_copy(update={"training": plan.training.model_copy(update={"max_steps": 2})})

    report = run_plan(shorter, replace(OPTIONS, overwrite=True))

    assert report.num_steps == 2
    assert {name: file.read_text() for name, file in notes.items()} == {name: f"note in {name}" for name in notes}
    assert {path.name for path in (output / "checkpoints").iterdir() if (path / "trainer_state.json").exists()} == {
        "checkpoint-2"
    }


NAMES = st.sampled_from(["notes.txt", "model.py", "data/x.json", "adapter_model.backup", "a b", "ü.txt"])
PLACES = st.sampled_from(["", "adapter", "checkpoints", "checkpoints/checkpoint-3", "merged", "image/blobs/sha256"])


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(PLACES, NAMES), max_size=6))
def test_removing_an_earlier_run_keeps_every_file_of_the_user(
    tmp_path_factory: pytest.TempPathFactory, files: set[tuple[str, str]]
) -> None:
    output = tmp_path_factory.mktemp("output")
    own = ["adapter/adapter_model.safetensors", "merged/model.safetensors", "image/blobs/sha256/" + "0" * 64]
    for name in (*own, "checkpoints/checkpoint-3/optimizer.pt", "report.json", "plan.json", COMPLETED):
        place = name.replace("/", ".unfinished/", 1) if name in own else name
        (output / place).parent.mkdir(parents=True, exist_ok=True)
        (output / place).write_text("{}")
    for name in ("adapter", "merged", "image"):
        replace_result(output / f"{name}.unfinished", output / name)
    seal(output / "checkpoints" / "checkpoint-3")
    list_results(output)
    users = {Path(place, name).as_posix() for place, name in files}
    for name in users:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("the user's")

    remove_earlier_run(output)

    assert set(tree(output)) == users


def replace_adapter(output: Path, **files: str) -> None:
    """Put a result of these files into the place of the adapter, as a run does."""
    unfinished = output / ".adapter.unfinished"
    unfinished.mkdir()
    for name, text in files.items():
        (unfinished / name).write_text(text)
    replace_result(unfinished, output / "adapter")


def test_a_result_takes_the_place_of_an_earlier_one_with_the_files_that_no_run_wrote(tmp_path: Path) -> None:
    replace_adapter(tmp_path, config="old", vocab="old")
    (tmp_path / "adapter" / "notes.txt").write_text("the user's")

    replace_adapter(tmp_path, config="new")

    assert tree(tmp_path / "adapter") == {"config": b"new", "notes.txt": b"the user's"}
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", LEDGER}


def test_the_file_of_the_user_s_whose_name_a_result_takes_gets_another(tmp_path: Path) -> None:
    replace_adapter(tmp_path, config="old")
    (tmp_path / "adapter" / "template").write_text("the user's")

    replace_adapter(tmp_path, config="new", template="new")

    assert tree(tmp_path / "adapter") == {"config": b"new", "template": b"new", "template.1": b"the user's"}


def test_files_of_the_user_s_among_the_results_stay_the_user_s_however_often_these_are_replaced(tmp_path: Path) -> None:
    replace_adapter(tmp_path, config="old")
    (tmp_path / "plan.json").write_text("{}")
    (tmp_path / "adapter" / "notes.txt").write_text("the user's")
    list_results(tmp_path)
    replace_adapter(tmp_path, config="new")
    list_results(tmp_path)

    remove_earlier_run(tmp_path)

    assert tree(tmp_path) == {"adapter/notes.txt": b"the user's"}


@pytest.mark.parametrize("num_calls", range(1, 6))
def test_a_kill_while_a_result_is_replaced_loses_no_file_of_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_calls: int
) -> None:
    replace_adapter(tmp_path, config="old")
    (tmp_path / "adapter" / "notes.txt").write_text("the user's")
    real, calls = os.replace, count(1)

    def killed(*arguments: Any) -> None:
        if next(calls) == num_calls:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)
        with suppress(KeyboardInterrupt):
            replace_adapter(tmp_path, config="new")
    shutil.rmtree(tmp_path / ".adapter.unfinished", ignore_errors=True)  # as a run does before it saves

    replace_adapter(tmp_path, config="newest")

    assert tree(tmp_path / "adapter") == {"config": b"newest", "notes.txt": b"the user's"}


@pytest.mark.parametrize("name", ["metrics.jsonl", "plan.json"])
def test_files_of_other_programs_by_the_names_of_a_run_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"format_version": "1.2"}')

    with pytest.raises(OutputRefused, match=f"`{name}`, which no run of kaitoc wrote"):
        require_free(tmp_path, overwrite=True)


def test_a_list_that_leads_out_of_the_folder_removes_nothing_there(tmp_path: Path) -> None:
    output, outside = tmp_path / "output", tmp_path / "outside.txt"
    output.mkdir()
    outside.write_text("the user's")
    (output / LEDGER).write_text(f'["../outside.txt", "{outside}"]')

    remove_earlier_run(output)

    assert outside.read_text() == "the user's"


def test_the_earlier_run_is_named_when_there_is_no_checkpoint(
    make_plan: MakePlan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(training={"max_steps": 1})

    run_plan(plan, replace(OPTIONS, resume=True))

    assert f"no checkpoint in {plan.output.path}/checkpoints: starting from step 1" in capsys.readouterr().err


def test_each_damaged_checkpoint_is_named(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    output = Path(plan.output.path)
    (output / COMPLETED).unlink()
    for step in (2, 4):
        (output / "checkpoints" / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"cut off")

    run_plan(plan, replace(OPTIONS, resume=True))

    told = capsys.readouterr().err
    assert all(f"checkpoint-{step} is damaged or incomplete" in told for step in (2, 4))
    assert all(map(is_whole, checkpoints(output / "checkpoints")))
