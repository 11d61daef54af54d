"""Lists of what kaitoc knows, as a table, or as one block an entry where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Sequence

NARROW_COLUMNS = 100
"""Below this width of a terminal a table that does not fit is shown as a list."""


def listing(headings: Sequence[str], rows: Sequence[Sequence[str]], num_columns: int | None = None) -> str:
    """Return rows as a table with headings, or as a list where a narrow terminal of `num_columns` cannot hold it."""
    lines = _table([headings, *rows])
    if num_columns is not None and num_columns < NARROW_COLUMNS and max(map(len, lines)) > num_columns:
        return "\n\n".join(_block(headings, row) for row in rows)
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _block(headings: Sequence[str], row: Sequence[str]) -> str:
    named = [f"  {heading.lower()}: {cell}" for heading, cell in zip(headings[1:], row[1:], strict=True) if cell]
    return "\n".join([row[0], *named])
