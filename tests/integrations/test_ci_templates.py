"""The GitHub Action and the GitLab template: valid, and their shell does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / "action.yml"
TEMPLATE = ROOT / "templates" / "kaitoc.gitlab-ci.yml"
FAULTY = """apiVersion: v1
kind: ConfigMap
metadata: {name: tuning}
data:
  training_config.yaml: |
    training_config:
      ModelConfig:
        torch_dtpe: "bfloat16"
"""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my manifests").mkdir()
    (tmp_path / "faulty.yaml").write_text(FAULTY)
    return tmp_path


def run_shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, **variables, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)


def check_step() -> str:
    step = load(ACTION)["runs"]["steps"][-1]
    assert step["name"] == "Check manifests"
    return str(step["run"])


@pytest.mark.parametrize(("schema", "path"), [("github-actions", ACTION), ("gitlab-ci", TEMPLATE)])
def test_the_file_is_what_its_platform_expects(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_action_annotates_and_writes_sarif(folder: Path) -> None:
    result = run_shell(
        check_step(), folder, PATHS="faulty.yaml", ARGS="--isolated", SARIF_FILE="out.sarif", BASELINE=""
    )
    assert result.returncode == 1
    assert "unknown-key,file=faulty.yaml,line=8" in result.stdout
    (run,) = json.loads((folder / "out.sarif").read_text())["runs"]
    assert "KT202" in {found["ruleId"] for found in run["results"]}


def test_the_action_writes_a_job_summary_after_what_is_there(folder: Path) -> None:
    (folder / "summary.md").write_text("# earlier\n")
    result = run_shell(
        check_step(), folder, PATHS="faulty.yaml", ARGS="--isolated", SARIF_FILE="", BASELINE="",
        GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
    )  # fmt: skip
    summary = (folder / "summary.md").read_text()
    assert result.returncode == 1
    assert summary.startswith("# earlier\n")
    assert "KT202" in summary
    assert "faulty.yaml" in summary


def test_a_summary_is_not_needed_outside_of_github(folder: Path) -> None:
    result = run_shell(check_step(), folder, PATHS="faulty.yaml", ARGS="--isolated --exit-zero", SARIF_FILE="",
                       BASELINE="", GITHUB_STEP_SUMMARY="")  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_the_action_takes_inputs_of_several_lines(folder: Path) -> None:
    (folder / "other.yaml").write_text(FAULTY)
    result = run_shell(check_step(), folder, PATHS="faulty.yaml\nother.yaml\n", ARGS="--isolated\n--exit-zero\n",
                       SARIF_FILE="", BASELINE="")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {"file=faulty.yaml", "file=other.yaml"} <= set(result.stdout.replace(" ", ",").split(","))


def test_the_action_expands_no_pattern(folder: Path) -> None:
    result = run_shell(check_step(), folder, PATHS="*.yaml", ARGS="--isolated", SARIF_FILE="", BASELINE="")
    assert result.returncode == 2
    assert "*.yaml: cannot be read" in result.stderr


def test_the_action_leaves_out_what_a_baseline_knows(folder: Path) -> None:
    run_shell("kaitoc baseline faulty.yaml --isolated -o known.json", folder)
    arguments = {"PATHS": "faulty.yaml", "ARGS": "--isolated", "SARIF_FILE": ""}
    assert run_shell(check_step(), folder, BASELINE="known.json", **arguments).returncode == 0


def test_the_action_does_not_run_what_an_input_holds(folder: Path) -> None:
    run_shell(check_step(), folder, PATHS="$(touch owned) `touch owned`", ARGS="; touch owned", SARIF_FILE="",
              BASELINE="")  # fmt: skip
    assert not (folder / "owned").exists()


def test_the_gitlab_job_writes_a_code_quality_report(folder: Path) -> None:
    job = load(TEMPLATE)["kaitoc"]
    (script,) = job["script"]
    result = run_shell(script, folder, KAITOC_PATHS="faulty.yaml", KAITOC_ARGS="--isolated")
    assert result.returncode == 1
    report = json.loads((folder / job["artifacts"]["reports"]["codequality"]).read_text())
    assert "unknown-key" in {issue["check_name"] for issue in report}
