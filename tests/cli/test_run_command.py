"""`kaitoc run` as a user meets it, up to the moment the runtime starts: plans, refusals, choices."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaitoc.__main__ import main
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.cli import cli

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.yaml"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["run", *arguments])


def test_a_dry_run_prints_the_plan() -> None:
    result = run(str(DEMO), "--dry-run")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["name"] == "tune-phi-3"


def test_a_manifest_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = Engine.check

    def counted(engine: Engine, paths: Iterable[str]) -> Outcome:
        checked.extend(paths)
        return check(engine, checked)

    monkeypatch.setattr(Engine, "check", counted)
    run(str(DEMO), "--dry-run")

    assert checked == [str(DEMO)]


@pytest.mark.parametrize("option", ["--model-path", "--data", "--eval-data", "--output"])
def test_an_empty_path_is_no_path(option: str) -> None:
    result = run(str(DEMO), "--dry-run", option, "")

    assert result.exit_code == 2
    assert f"{option} is empty" in result.stderr


def test_ctrl_c_while_the_manifest_is_checked_ends_a_run_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "check", interrupted)
    result = run(str(DEMO))

    assert (result.exit_code, result.stderr) == (130, "kaitoc: stopped by Ctrl-C\n")


def test_ctrl_c_while_modules_are_loaded_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kaitoc.compiler.cli.main_process", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 130


def test_a_dry_run_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from kaitoc.compiler.cli import cli\n"
        f"result = CliRunner().invoke(cli, ['run', {str(DEMO)!r}, '--dry-run'])\n"
        "assert result.exit_code == 0\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_paths_are_mapped_by_options() -> None:
    plan = json.loads(run(str(DEMO), "--dry-run", "--model-path", "m", "--data", "d", "--output", "o").stdout)

    assert (plan["model"]["path"], plan["data"]["paths"], plan["output"]["path"]) == ("m", ["d"], "o")


def test_processes_and_sharding_are_set_by_options() -> None:
    plan = json.loads(run(str(DEMO), "--dry-run", "--num-processes", "2", "--sharding", "fsdp").stdout)

    assert (plan["num_processes"], plan["sharding"]) == (2, "fsdp2")


def test_a_shard_group_is_part_of_the_plan() -> None:
    options = ("--num-processes", "8", "--sharding", "fsdp2", "--shard-group", "4")

    assert json.loads(run(str(DEMO), "--dry-run", *options).stdout)["shard_group"] == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--num-processes", "4", "--shard-group", "3"), "cannot form shard groups of 3; the nearest size is 2"),
        (("--num-processes", "4", "--shard-group", "8"), "cannot form shard groups of 8; the nearest size is 4"),
        (("--sharding", "ddp", "--shard-group", "2"), "--shard-group needs a sharded model"),
        (("--num-processes", "1", "--sharding", "fsdp2"), "--sharding fsdp2 needs several processes"),
        (("--on", "cluster", "--shard-group", "2"), "--shard-group is incompatible with --on cluster"),
    ],
)
def test_a_shard_group_that_no_run_can_have_is_refused(options: tuple[str, ...], told: str) -> None:
    result = run(str(DEMO), "--dry-run", *options)

    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--num-processes", "16"),
            "note: Standard_NC24ads_A100_v4 has 1 GPU, fewer than the 16 processes of the plan",
        ),
        (("--num-processes", "4", "--shard-group", "2"), "note: --shard-group 2 has no effect: each GPU holds"),
        (("--num-processes", "1", "--shard-group", "2"), "note: --shard-group 2 has no effect: one process holds"),
    ],
)
def test_processes_that_the_manifests_gpus_do_not_expect_are_noted(options: tuple[str, ...], told: str) -> None:
    result = run(str(DEMO), "--dry-run", *options)

    assert result.exit_code == 0
    assert told in result.stderr


def test_more_processes_than_any_job_has_are_refused_at_once() -> None:
    for words in ((), ("--shard-group", "3"), ("--sharding", "fsdp2")):
        result = run(str(DEMO), "--dry-run", "--num-processes", "1000000000", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--num-processes 1000000000: the number of GPUs must be at most 100,000" in result.stderr


def test_more_processes_than_a_stated_instance_type_has_gpus_are_refused_with_the_nearest() -> None:
    result = run(str(DEMO), "--dry-run", "--num-processes", "16", "--gpu", "Standard_ND96isr_H100_v5")

    assert result.exit_code == 2
    assert "has 8 GPUs; use --num-processes 8, or `--on trainjob --nodes 2`" in result.stderr


@pytest.mark.parametrize("kind", ["fsdp1", "zero3"])
def test_what_the_runtime_cannot_do_is_refused_by_name(kind: str) -> None:
    result = run(str(DEMO), "--dry-run", "--num-processes", "2", "--sharding", kind)

    assert result.exit_code == 2
    assert f"not with {kind}" in result.stderr


def test_a_run_on_preferences_is_planned_with_both_rows_of_a_pair() -> None:
    text, pairs = (json.loads(run(str(DEMO), "--dry-run", "--task", task).stdout) for task in ("sft", "dpo"))

    assert (text["dpo"], pairs["dpo"]) == (None, {"beta": 0.1})
    assert pairs["predicted"]["activations"] > 1.9 * text["predicted"]["activations"]


@pytest.mark.parametrize("place", ["cluster", "trainjob", "jobset"])
def test_a_cluster_does_not_learn_text_where_preferences_are_asked_for(place: str) -> None:
    result = run(str(DEMO), "--dry-run", "--task", "dpo", "--on", place)

    assert result.exit_code == 2
    assert "--task dpo needs a local run" in result.stderr


def test_what_a_manifest_has_no_words_for_is_set_by_options() -> None:
    options = ("--merge", "--oci-layout", "--early-stopping", "3", "--allow-pickle", "--hub")
    usual, asked = (json.loads(run(str(DEMO), "--dry-run", *more).stdout) for more in ((), options))

    assert (usual["output"]["merge"], usual["output"]["oci_layout"]) == (False, False)
    assert (usual["training"]["early_stopping_patience"], usual["model"]["allow_pickle"]) == (None, False)
    assert (usual["model"]["hub"], asked["model"]["hub"]) == (False, True)
    assert (asked["output"]["merge"], asked["output"]["oci_layout"]) == (True, True)
    assert (asked["training"]["early_stopping_patience"], asked["model"]["allow_pickle"]) == (3, True)


def test_a_manifest_with_errors_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(DEMO.read_text().replace("lora_alpha: 32", "lora_alfa: 32"))

    result = run(str(path), "--dry-run")

    assert result.exit_code == 2
    line = path.read_text().splitlines().index("        lora_alfa: 32") + 1
    assert f"{path}:{line}:9: KT2" in result.stderr
    assert "1 error stops the run" in result.stderr
    assert f"kaitoc check {path} --target bundled" in result.stderr
    assert result.stdout == ""


def test_all_errors_are_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(DEMO.read_text().replace("lora_alpha: 32", "lora_alfa: 32").replace("seed: 42", "seeed: 42"))

    result = run(str(path), "--dry-run")

    assert [name in result.stderr for name in ("`lora_alfa`", "`seeed`", "2 errors stop the run")] == [True] * 3


def test_warnings_that_hold_for_a_run_here_are_told() -> None:
    (line,) = run(str(DEMO), "--dry-run").stderr.splitlines()

    assert line.startswith(f"kaitoc: {DEMO}:21:9: KT401 warning: ")


def test_rows_for_evaluation_need_no_share_of_the_others(tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(DEMO.read_text().replace("save_strategy", "eval_strategy: epoch\n        save_strategy"))

    assert "KT428" in run(str(manifest), "--dry-run").stderr
    planned = run(str(manifest), "--dry-run", "--eval-data", "held_out.jsonl")

    assert planned.exit_code == 0, planned.stderr
    data = json.loads(planned.stdout)["data"]
    assert (data["train_fraction"], data["eval_paths"]) == (1.0, ["held_out.jsonl"])


def test_what_only_a_cluster_refuses_does_not_stop_a_local_run(tmp_path: Path) -> None:
    path = tmp_path / "local.yaml"
    path.write_text(DEMO.read_text().replace("volumeSource:", "volumeSourc:"))

    assert run(str(path), "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("kind: Pod\n", "there is no tuning Workspace"),
        ("a: [", ":1: skipped: invalid YAML"),
    ],
)
def test_a_file_without_a_job_is_told(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(content)

    result = run(str(path), "--dry-run")

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_missing_file_is_told() -> None:
    result = run("nowhere.yaml", "--dry-run")

    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_one_of_several_jobs_is_chosen_by_the_name_of_its_workspace(tmp_path: Path) -> None:
    config, workspace = DEMO.read_text().split("---\n")
    path = tmp_path / "two.yaml"
    path.write_text("---\n".join((config, workspace, workspace.replace("tune-phi-3\n", "other\n", 1))))

    assert "choose one with --workspace" in run(str(path), "--dry-run").stderr
    assert json.loads(run(str(path), "--dry-run", "--workspace", "other").stdout)["name"] == "other"
    assert "there is no tuning Workspace `third`" in run(str(path), "--workspace", "third").stderr


def test_a_missing_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaitoc.running.find_spec", lambda name: None)

    result = run(str(DEMO))

    assert result.exit_code == 2
    assert 'pip install "kaitoc[runtime]"' in result.stderr


def test_fsdp_of_a_manifest_has_no_effect_on_one_process(tmp_path: Path) -> None:
    path = tmp_path / "sharded.yaml"
    text = DEMO.read_text(encoding="utf-8")
    path.write_text(
        text.replace("TrainingArguments:", "TrainingArguments:\n        fsdp: full_shard"), encoding="utf-8"
    )

    def plan_with(*options: str) -> Any:
        return json.loads(run(str(path), "--dry-run", *options).stdout)

    assert plan_with("--num-processes", "1")["sharding"] == "auto"
    assert plan_with()["sharding"] == plan_with("--num-processes", "2")["sharding"] == "fsdp2"
    assert plan_with()["predicted"] is not None, "without a prediction nothing is compared with the GPU"
