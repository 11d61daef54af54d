"""A Workspace whose ConfigMap is not at hand: one clear refusal, whatever is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

DEMO = (Path(__file__).parents[2] / "examples/demo.yaml").read_text(encoding="utf-8")
WORKSPACE = DEMO.partition("---\n")[2]
MESSAGE = (
    "kaitoc: ws.yaml:15:11: the ConfigMap `tune-phi-3-params` is not in this file, its folder or the given paths; "
    "pass the file that holds it too"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ws.yaml").write_text(WORKSPACE, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [("compile",), ("compile", "--diff"), ("compile", "--in-place"), ("estimate",), ("run", "--dry-run")],
    ids=" ".join,
)
def test_it_is_named_in_one_line(folder: Path, command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*command, "ws.yaml"])

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [MESSAGE]
    assert (folder / "ws.yaml").read_text(encoding="utf-8") == WORKSPACE


@pytest.mark.parametrize("command", [("estimate",), ("run", "--dry-run")], ids=" ".join)
def test_one_whose_name_is_not_known_yet_is_refused_too(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "ws.yaml").write_text(WORKSPACE.replace("tune-phi-3-params", "${CONFIG}"), encoding="utf-8")
    result = CliRunner().invoke(cli, [*command, "ws.yaml"])

    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.endswith("`tune-phi-3` has no training config that can be read; `kaitoc check` says why")


def test_a_workspace_without_a_name_is_called_so(folder: Path) -> None:
    text = WORKSPACE.replace("tune-phi-3-params", "${CONFIG}").replace("name: tune-phi-3\n", "labels: {}\n", 1)
    (folder / "ws.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["estimate", "ws.yaml"])

    assert "ws.yaml: a Workspace without a name has no training config that can be read" in result.stderr


def test_other_workspaces_are_compiled_all_the_same(folder: Path) -> None:
    (folder / "ws.yaml").write_text(WORKSPACE.replace("tune-phi-3-params", "absent"), encoding="utf-8")
    (folder / "whole.yaml").write_text(DEMO, encoding="utf-8")
    result = CliRunner().invoke(cli, ["compile", "--diff", "ws.yaml", "whole.yaml"])

    assert result.exit_code == 1
    assert "+++ whole.yaml" in result.stdout
    assert "the ConfigMap `absent` is not in this file" in result.stderr
