"""How wide the terminal is that a stream writes to, if it is one."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kaitoc.compiler.core.annotations import TextIO


def terminal_columns(stream: TextIO, environment: Mapping[str, str]) -> int | None:
    """Measure a terminal in columns, preferring `COLUMNS`; None when `stream` is not a terminal."""
    if not stream.isatty():
        return None
    stated = environment.get("COLUMNS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None  # 0 where the terminal does not tell
    except OSError:
        return None
