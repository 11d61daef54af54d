"""YAML that cannot be read is told by its place and fault, whatever a file is read for."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

WORKSPACE = "kind: Workspace\napiVersion: kaito.sh/v1beta1\ntuning:\n  preset: {name: phi-4\n  method: qlora\n"
CONFIG_MAP = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  training_config.yaml: |\n    training_config:\n"
    "      LoraConfig: {r: 8\n"
)
FAULTS = {
    "workspace": (WORKSPACE, "file.yaml:5:9: KT101 "),
    "config map": (CONFIG_MAP, "file.yaml:7:24: KT101 training_config.yaml: "),
    "config": ("training_config:\n  LoraConfig: {r: 8\n", "file.yaml:2:20: KT101 "),
    "another program's": ("kind: Pod\nspec: {a\n", "file.yaml:2: skipped: invalid YAML ("),
}
"""Texts, and what is said of each up to the words of the YAML library."""
COMMANDS = ("run --dry-run", "run --dry-run --on cluster", "estimate", "estimate --task dpo", "estimate --task serve")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", FAULTS)
def test_the_place_and_the_fault_are_told(
    command: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written, told = FAULTS[text]
    Path("file.yaml").write_text(written, encoding="utf-8")

    result = CliRunner().invoke(cli, [*command.split(), "file.yaml"])

    assert result.exit_code == 2
    assert f"{told}while parsing a flow mapping" in result.stderr


@pytest.mark.parametrize("text", FAULTS)
def test_an_upgrade_tells_them_and_goes_on(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written, told = FAULTS[text]
    Path("file.yaml").write_text(written, encoding="utf-8")

    result = CliRunner().invoke(cli, ["upgrade", "--from", "v0.10", "--to", "v0.12", "file.yaml"])

    assert f"{told}while parsing a flow mapping" in result.stderr
