"""Which commands show how far they are, and when they keep silent."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from terminals import Terminal

DEMO = (Path(__file__).parents[2] / "examples/demo.yaml").read_text(encoding="utf-8")
ERASED = "\r\x1b[K"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        (tmp_path / f"demo{number}.yaml").write_text(DEMO.replace("tune-phi-3", f"tune-{number}"), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("num_processes", ["1", "2"])
def test_a_check_shows_its_share_and_leaves_its_report_alone(folder: Path, num_processes: str) -> None:
    shown = Terminal(folder=folder, has_stdout=False).run(["check", "-f", "json", "--jobs", num_processes])

    assert shown.exit_code == 0
    assert re.search(rf"{re.escape(ERASED)}checking 4 files  \d\d%", shown.terminal)
    assert shown.terminal.endswith(ERASED)
    assert len(json.loads(shown.stdout)["jobs"]) == 4


def test_a_quiet_check_shows_nothing(folder: Path) -> None:
    assert Terminal(folder=folder, has_stdout=False).run(["check", "-q"]).terminal == ""


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"TERM": "dumb"}])
def test_a_log_shows_no_progress(folder: Path, variables: dict[str, str]) -> None:
    assert "%" not in Terminal(folder=folder, has_stdout=False, variables=variables).run(["check"]).terminal


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        (["compile", "--diff", "."], "compiling 4 jobs  25%"),
        (["upgrade", "--from", "v0.11", "--to", "v0.12", "."], "checking 4 files  50%"),
        (["baseline", "-o", "baseline.json", "."], "checking 4 files  50%"),
        (["check", "--fix", "--jobs", "1"], "checking 4 files  50%"),
        (["estimate", "--model", "phi-4", "--sweep", "seq-len=1:2"], "estimating 2 sizes  50%"),
    ],
)
def test_commands_that_may_take_long_show_progress(folder: Path, arguments: list[str], label: str) -> None:
    shown = Terminal(folder=folder).run(arguments).terminal

    assert f"{ERASED}{label}" in shown
    assert "%" not in shown.rpartition(ERASED)[2].splitlines()[0]
