"""Commands that a sentence of a page names with their options: each is answered as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

ROOT = Path(__file__).parents[2]
NAMED = sorted(
    {
        (page.name, command)
        for page in (ROOT / "docs").glob("*.md")
        for command in re.findall(r"`kaitoc (estimate --(?:model|task serve --model) [^`]+)`", page.read_text())
    }
)


def test_pages_name_whole_commands() -> None:
    assert {"memory.md", "throughput.md"} <= {page for page, _ in NAMED}
    for page in ("memory.md", "throughput.md"):
        text = (ROOT / "docs" / page).read_text()
        assert re.search(r"`kaitoc estimate --(?!model|task)[^` ]+ [^`]+`", text) is None, page


@pytest.mark.parametrize(("page", "command"), NAMED, ids=[command for _, command in NAMED])
def test_a_command_is_answered_as_it_stands(page: str, command: str) -> None:
    result = CliRunner().invoke(cli, shlex.split(command))

    assert result.exit_code in (0, 1), f"{page}: {result.stderr}"
    assert result.stdout
