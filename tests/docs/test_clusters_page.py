"""Every manifest on the page of clusters is emitted by the command above it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(?P<kind>console|yaml)\n(?P<text>.*?)\n```", re.DOTALL)


def shown() -> list[tuple[str, str]]:
    """Return each manifest of the page with the command that stands above it."""
    pairs, command = [], ""
    for block in BLOCK.finditer(PAGE):
        if block["kind"] == "console":
            command = block["text"].splitlines()[0].removeprefix("$ kaitoc ").partition(" >")[0]
        else:
            pairs.append((command, block["text"]))
    return pairs


def test_the_page_shows_manifests() -> None:
    assert len(shown()) == 3


@pytest.mark.parametrize(("command", "manifest"), shown(), ids=[yaml.safe_load(text)["kind"] for _, text in shown()])
def test_a_manifest_is_what_its_command_emits(command: str, manifest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    result = CliRunner().invoke(cli, shlex.split(command))

    assert result.exit_code == 0, result.output
    assert manifest in [text.rstrip() for text in result.stdout.split("---\n")]
