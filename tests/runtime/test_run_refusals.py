"""What a run refuses before it trains or saves, each in one message: weights, templates, outputs, other bases."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from child_runs import ChildRun
from tiny_phi3 import save_tiny_phi3

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.__main__ import execute, main
from kaitoc.runtime.failures import ModelFailure, OutOfMemory, OutputRefused, PlanFailure, RunFailure
from kaitoc.runtime.launch.preflight import check_room, require_apart, written_bytes
from kaitoc.runtime.launch.processes import Execution
from kaitoc.runtime.launch.ready import RunOptions
from kaitoc.runtime.launch.run import run_plan
from kaitoc.runtime.model.load import load_model
from kaitoc.runtime.output.checkpoints import checkpoints
from kaitoc.runtime.output.names import COMPLETED
from kaitoc.runtime.quiet import quiet_libraries

pytestmark = pytest.mark.runtime
MakePlan = Callable[..., Plan]
SAVING = {"save_strategy": "steps", "save_steps": 2}


def run(plan: Plan, *, resume: bool = False) -> None:
    run_plan(plan, RunOptions("cpu", resume, show_progress=False))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def configure(model: Path, **values: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def pickle_weights(model: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def test_pickled_weights_are_not_loaded_unless_that_is_allowed(make_plan: MakePlan, model: Path) -> None:
    pickle_weights(model)

    with pytest.raises(ModelFailure, match=r"pickled \(pytorch_model\.bin\).*--allow-pickle"):
        run(make_plan(model={"path": str(model)}))
    run(make_plan(model={"path": str(model), "allow_pickle": True}))


def test_a_model_s_folder_without_weights_is_named(make_plan: MakePlan, model: Path) -> None:
    (model / "model.safetensors").unlink()

    with pytest.raises(ModelFailure, match="copy: no weights in it"):
        run(make_plan(model={"path": str(model), "allow_pickle": True}))


def test_a_pickle_that_runs_code_is_refused_also_when_pickles_are_allowed(
    make_plan: MakePlan, model: Path, tmp_path: Path
) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (model / "model.safetensors").unlink()
    torch.save({"weight": Harmful()}, model / "pytorch_model.bin")

    with pytest.raises(ModelFailure, match="the model cannot be loaded"):
        run(make_plan(model={"path": str(model), "allow_pickle": True}))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [({"num_hidden_layers": 3}, "6 are missing, the first: model.layers.2"), ({"hidden_size": 128}, "of another size")],
)
def test_weights_that_do_not_go_with_their_config_are_refused(
    make_plan: MakePlan, model: Path, config: dict[str, Any], words: str
) -> None:
    configure(model, **config)

    with pytest.raises(ModelFailure, match=f"do not match config.json: .*{words}"):
        run(make_plan(model={"path": str(model)}))


def test_weights_that_have_no_place_are_told(
    make_plan: MakePlan, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(model, num_hidden_layers=1)
    with quiet_libraries():
        load_model(make_plan(model={"path": str(model)}), "cpu")

    assert "6 of its weights are not used, the first: model.layers.1" in capsys.readouterr().err


def test_a_model_that_needs_code_of_its_own_is_refused(make_plan: MakePlan, model: Path) -> None:
    configure(model, model_type="own", auto_map={"AutoConfig": "x.Y", "AutoModelForCausalLM": "x.Z"})

    with pytest.raises(ModelFailure, match="needs code of its own"):
        run(make_plan(model={"path": str(model)}))


def test_flash_attention_that_is_not_there_gives_way(make_plan: MakePlan, capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries():
        model = load_model(make_plan(model={"attention": "flash"}), "cpu")

    assert model.config._attn_implementation == "sdpa"
    assert "a CPU has no flash attention" in capsys.readouterr().err


def test_a_chat_template_is_no_way_to_another_file_of_the_machine(make_plan: MakePlan, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("{{ messages }}")

    with pytest.raises(ModelFailure, match=r"a chat template ends in \.jinja"):
        run(make_plan(model={"chat_template": str(secret)}))


def test_an_adapter_for_another_base_is_not_resumed(make_plan: MakePlan, model: Path, tokenizer: Any) -> None:
    """The folder has the same name and the weights the same shapes; only the numbers are others."""
    plan = make_plan(model={"path": str(model)}, training=SAVING)
    run(plan)
    (Path(plan.output.path) / COMPLETED).unlink()
    torch.manual_seed(1)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_config(AutoModelForCausalLM.from_pretrained(model).config).save_pretrained(model)

    with pytest.raises(RunFailure, match="its adapter is for another base model"):
        run(plan, resume=True)
    save_tiny_phi3(model, tokenizer)
    run(plan, resume=True)


def test_a_plan_of_another_version_is_not_started(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**json.loads(make_plan().to_json()), "version": 2}))
    monkeypatch.setattr("sys.argv", ["runtime", str(path)])

    assert main() == 2
    assert f"{path}: plan version 2 is not supported" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("content", "fault"), [(None, "cannot be read: No such file"), (b"\xff", "not UTF-8 text")])
def test_a_plan_that_cannot_be_read_is_named(
    content: bytes | None,
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("sys.argv", ["runtime", str(path)])

    assert main() == 2
    told = capsys.readouterr().err
    assert told.startswith(f"kaitoc: {path}:")
    assert fault in told


def test_a_run_of_a_plan_of_another_version_is_not_resumed(make_plan: MakePlan) -> None:
    plan = make_plan(training=SAVING)
    run(plan)
    path = Path(plan.output.path) / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))

    with pytest.raises(RunFailure, match="plan version 2 is not supported"):
        run(plan, resume=True)


@pytest.mark.parametrize("inside", ["adapter", "checkpoints", "merged/deep"])
def test_data_in_a_folder_that_the_run_replaces_is_not_lost(
    make_plan: MakePlan, chat_data: Path, tmp_path: Path, inside: str
) -> None:
    place = tmp_path / "results" / inside / "a.jsonl"
    place.parent.mkdir(parents=True)
    shutil.copy(chat_data, place)

    with pytest.raises(OutputRefused, match="which the run replaces"):
        run(make_plan(data={"paths": [str(place)]}))
    assert place.exists()


def test_results_are_not_written_among_the_files_of_the_model(make_plan: MakePlan, model: Path) -> None:
    """An adapter beside a model is loaded into it by whoever loads the model next."""
    before = sorted(model.iterdir())
    with pytest.raises(OutputRefused, match="is the model's folder; choose another --output"):
        run(make_plan(model={"path": str(model)}, output={"path": str(model)}))
    assert sorted(model.iterdir()) == before


def test_a_model_that_comes_with_an_adapter_is_not_trained_in_its_place(make_plan: MakePlan, model: Path) -> None:
    plan = make_plan()
    run(plan)
    for file in (Path(plan.output.path) / "adapter").glob("adapter_*"):
        shutil.copy(file, model)

    with pytest.raises(ModelFailure, match=r"holds an adapter \(adapter_config.json\)"):
        run(make_plan(model={"path": str(model)}, output={"path": str(model.parent / "other")}))
    with pytest.raises(ModelFailure, match="holds an adapter"), quiet_libraries():
        load_model(make_plan(model={"path": str(model)}), "cpu")


@pytest.mark.parametrize(("place", "is_refused"), [("data/results", True), ("data", True), ("data/.results", False)])
def test_results_are_not_written_where_the_next_run_reads_data(
    make_plan: MakePlan, chat_data: Path, tmp_path: Path, place: str, is_refused: bool
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(chat_data, tmp_path / "data")
    plan = make_plan(data={"paths": [str(tmp_path / "data")]}, output={"path": str(tmp_path / place)})

    with pytest.raises(OutputRefused, match="lies in the data's folder") if is_refused else nullcontext():
        require_apart(plan)


def test_a_full_model_is_not_written_over_its_base(make_plan: MakePlan, tiny_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_model, tmp_path / "results" / "model"))

    with pytest.raises(OutputRefused, match="which the run replaces"):
        run(make_plan(model={"path": str(base)}, lora=None))
    assert (base / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_a_disk_without_room_for_checkpoints_is_found_before_training(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parameter = torch.nn.Linear(1 << 20, 1, bias=False)
    plan, without = make_plan(training=SAVING), make_plan()
    (tmp_path / "results").mkdir()

    assert written_bytes(without, parameter) == 4 << 20
    assert written_bytes(plan, parameter) == (4 + 2 * 12) << 20
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 << 20))
    check_room(without, parameter)
    with pytest.raises(OutputRefused, match=r"the run writes 0\.0 GiB"):
        check_room(plan, parameter)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_message_and_leaves_no_result(make_plan: MakePlan, tmp_path: Path) -> None:
    """A limit on the size of files makes writing fail as a full disk does: here the adapter does not fit."""
    plan = make_plan()
    result = ChildRun(plan, tmp_path / "child", max_file_bytes=20_000).end()

    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "File too large" in result.stderr
    output = Path(plan.output.path)
    assert not (output / COMPLETED).exists()
    assert not list(output.glob(".*.unfinished"))


def test_weights_that_stopped_being_numbers_between_two_logged_steps_are_not_saved(make_plan: MakePlan) -> None:
    plan = make_plan(
        training={"learning_rate": 1e30, "max_grad_norm": 0, "logging_steps": 100, "max_steps": 6, **SAVING}
    )

    with pytest.raises(RunFailure, match="is not a number at step 2; lower the learning rate"):
        run(plan)
    output = Path(plan.output.path)
    assert not checkpoints(output / "checkpoints")
    assert not (output / "adapter").exists()


def test_what_a_library_refuses_is_told_in_its_words(make_plan: MakePlan) -> None:
    plan = make_plan(training={"extra_training_arguments": {"neftune_noise_alpha": -5}})

    with pytest.raises(RunFailure, match=r"the run cannot go on: uniform_ expects .* range"):
        run(plan)


def test_a_module_to_save_that_is_not_in_the_model_is_named(make_plan: MakePlan) -> None:
    with pytest.raises(ModelFailure, match=r"no module `lm_haed`; did you mean `lm_head`\?"):
        run(make_plan(lora={"modules_to_save": ["lm_haed"]}))


def test_target_modules_that_are_not_in_the_model_are_named(
    make_plan: MakePlan, capsys: pytest.CaptureFixture[str]
) -> None:
    run(make_plan(lora={"target_modules": ["q_proj", "v_proj", "o_proj"]}, training={"max_steps": 1}))

    assert "adapter: the model has no q_proj, v_proj; only o_proj is trained" in capsys.readouterr().err


def test_an_adapter_that_no_memory_holds_is_out_of_memory(make_plan: MakePlan) -> None:
    with pytest.raises(OutOfMemory, match="out of memory while the model was loaded"):
        run(make_plan(lora={"r": 10**12}))


@pytest.mark.parametrize(
    "training", [{"early_stopping_patience": 1}, {"load_best_model_at_end": True}, {"save_strategy": "best"}]
)
def test_the_best_of_no_evaluations_is_refused(make_plan: MakePlan, training: dict[str, Any]) -> None:
    with pytest.raises(PlanFailure, match="compares evaluations, and there are none: set `eval_strategy`"):
        run(make_plan(training=training))


def test_ctrl_c_is_one_message(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kaitoc.runtime.launch.run.run_plan", interrupted)

    assert execute(make_plan(), Execution("cpu")) == 130
    assert "stopped by Ctrl-C" in capsys.readouterr().err
