"""Breaks long lines between words for a terminal, under the column that they continue."""

from __future__ import annotations

import re

MIN_COLUMNS = 24
"""Narrower than this, text is left to the terminal."""
_CONTINUED = 4
_WIDEST_LABEL = 3 / 8
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SOURCE = re.compile(r"\s*(\d+ )?\|")
_LABEL = re.compile(r"\s*(=|:::|-->) ")


def folded(text: str, num_columns: int | None) -> str:
    """Return text whose lines take at most `num_columns`, unchanged where that is None.

    A word that is longer than a line stays whole, and so do lines of source code, whose carets stand below them.
    """
    if num_columns is None or num_columns < MIN_COLUMNS:
        return text
    return "".join(_folded_line(line, num_columns) for line in text.splitlines(keepends=True))


def wrapped(words: str, num_columns: int, indent: int = 0) -> list[str]:
    """Return words in lines of at most `num_columns`; all but the first begin with `indent` spaces."""
    lines: list[str] = []
    line, *others = words.split(" ")
    for word in others:
        if line.strip() and visible_length(line) + 1 + visible_length(word) > num_columns:
            lines.append(line.rstrip(" "))
            line = " " * indent + word
        else:
            line = f"{line} {word}"
    return [*lines, line]


def visible_length(text: str) -> int:
    """Measure a text in terminal columns, ignoring color codes."""
    return len(_ANSI.sub("", text))


def _folded_line(line: str, num_columns: int) -> str:
    content = line.rstrip("\n")
    plain = _ANSI.sub("", content)
    if len(plain) <= num_columns or _SOURCE.match(plain):
        return line
    start = len(content) - len(content.lstrip(" "))
    indent = _continuation_column(plain, num_columns)
    rest = wrapped(content[start:], num_columns - start, max(0, indent - start))
    return "\n".join(" " * start + piece for piece in rest) + line[len(content) :]


def _continuation_column(plain: str, num_columns: int) -> int:
    """Find the indent of a folded line: below the text after its label or last wide gap, else some columns in.

    A label that takes much of the line leaves too little room beside it: its text goes on below it.
    """
    start = len(plain) - len(plain.lstrip(" "))
    label = _LABEL.match(plain)
    if label:
        return label.end()
    gaps = [gap.end() for gap in re.finditer(r"(?<=\S) {2,}(?=\S)", plain)]
    narrow = [end for end in gaps if end <= num_columns * _WIDEST_LABEL]
    if narrow:
        return narrow[-1]
    return start + (2 * _CONTINUED if gaps else _CONTINUED)
