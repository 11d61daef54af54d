"""What the pages show is what the commands say today."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli import cli

ROOT = Path(__file__).resolve().parents[2]
CONSOLE_BLOCK = re.compile(r"```console\n\$ kaitoc (?P<arguments>[^\n]+)\n(?P<output>.*?)\n```", re.DOTALL)
SHOWN = [
    (page, block["arguments"], block["output"])
    for page in ("docs/quick-start.md",)
    for block in CONSOLE_BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "arguments", "output"), SHOWN, ids=[shown[1] for shown in SHOWN])
def test_a_command_says_what_its_page_shows(
    page: str, arguments: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert CliRunner().invoke(cli, shlex.split(arguments)).stdout.rstrip() == output, page


def test_the_readmes_picture_is_what_check_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import terminal_picture

    monkeypatch.delitem(sys.modules, "terminal_picture")
    assert (ROOT / "docs/images/check.svg").read_text(encoding="utf-8") == terminal_picture.picture()
