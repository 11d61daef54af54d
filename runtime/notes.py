"""Lines for the user of a run, fitted to the terminal where there is one."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from kaitoc.compiler.core.folding import folded
from kaitoc.compiler.core.terminal import terminal_columns


def note(text: str, stream: TextIO | None = None) -> None:
    """Write text and a line break to standard error, or to another stream."""
    stream = stream or sys.stderr
    stream.write(f"{folded(text, terminal_columns(stream, os.environ))}\n")
