"""Lists of what kaitoc knows, as a table, or as one block an entry where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence

from kaitoc.compiler.core.folding import wrapped

_GAP = "  "
NARROW_COLUMNS = 100
"""Below this width of a terminal a table that does not fit is shown as a list."""


MIN_LAST_COLUMN = 28
"""A last column that would be narrower is not worth its row."""


def listing(headings: Sequence[str], rows: Sequence[Sequence[str]], num_columns: int | None = None) -> str:
    """Return rows as a table with headings, or as a list where a terminal of `num_columns` cannot hold it.

    On a terminal that is not narrow, the last column is broken between its words before the table becomes a list.
    """
    lines = _table([headings, *rows])
    if num_columns is None or max(map(len, lines)) <= num_columns:
        return "\n".join(lines)
    start = max(len(line) for line in _table([row[:-1] for row in (headings, *rows)])) + len(_GAP)
    longest_word = max(len(word) for row in rows for word in row[-1].split(" "))
    if num_columns < NARROW_COLUMNS or num_columns - start < max(MIN_LAST_COLUMN, longest_word):
        return "\n\n".join(_block(headings, row, num_columns) for row in rows)
    return "\n".join(piece for line in lines for piece in wrapped(line, num_columns, start))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [_GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _block(headings: Sequence[str], row: Sequence[str], num_columns: int) -> str:
    named = [f"  {heading.lower()}: {cell}" for heading, cell in zip(headings[1:], row[1:], strict=True) if cell]
    return "\n".join([row[0], *(piece for line in named for piece in wrapped(line, num_columns, indent=4))])
