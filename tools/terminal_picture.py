"""Draws the terminal picture of the README: `kaitoc check` on the demo, in color, as an SVG that loads nothing.

`python tools/terminal_picture.py > docs/images/check.svg` writes it; a test holds it to what the command says today.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "kaitoc check examples/demo.yaml"
_NUM_COLUMNS = 122
_REMOTE_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def picture() -> str:
    """Run the check and draw its output as SVG text."""
    told = subprocess.run(  # noqa: S603  (this program's own command)
        [sys.executable, "-m", "kaitoc.compiler", *COMMAND.split()[1:]],
        cwd=ROOT, env={**os.environ, "FORCE_COLOR": "1"}, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    console = Console(record=True, width=_NUM_COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {COMMAND}", style="bold"))
    console.print(Text.from_ansi(told.stdout.rstrip("\n")))
    svg = console.export_svg(title="kaitoc", theme=MONOKAI, unique_id="kaitoc")
    return _REMOTE_FONT.sub("", svg)


if __name__ == "__main__":
    sys.stdout.write(picture())
