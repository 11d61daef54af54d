"""Source excerpts with carets, aligned for tabs, wide characters and combining marks."""

from __future__ import annotations

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.redaction import masked
from kaitoc.compiler.core.source import Source, Span

MAX_EXCERPT_COLUMNS = 160
_COLUMNS_BEFORE_MARK = 60
_TAB_WIDTH = 4
_ELLIPSIS = "\u2026"


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line to show: its number, its text as shown, and the mark to draw below, empty for context."""

    number: int
    text: str
    mark: str = ""


def excerpt(source: Source, span: Span, mark: str = "^", num_context: int = 1) -> list[ExcerptLine]:
    """Return the line a span starts on, with carets below what it covers of it, and the lines around it.

    A line longer than `MAX_EXCERPT_COLUMNS` is cut to a window around the mark. Secrets are masked.
    """
    start, end = source.position(span.start), source.position(span.end)
    line = masked(source.line_text(start.line))
    first = min(start.column - 1, len(line))
    last = end.column - 1 if end.line == start.line else len(line.rstrip())
    window_start = max(0, first - _COLUMNS_BEFORE_MARK) if len(line) > MAX_EXCERPT_COLUMNS else 0
    shown, widths = _shown(line, window_start)
    indent = sum(widths[: first - window_start]) + (len(_ELLIPSIS) if window_start else 0)
    width = sum(widths[first - window_start : max(last, first) - window_start])
    marked = ExcerptLine(start.line, shown, " " * indent + mark * max(width, 1))
    before = range(max(1, start.line - num_context), start.line)
    after = range(start.line + 1, min(len(source.line_starts), start.line + num_context) + 1)
    return [*_context(source, before), marked, *_context(source, after)]


def _context(source: Source, numbers: range) -> list[ExcerptLine]:
    lines = (ExcerptLine(number, _shown(masked(source.line_text(number)), 0)[0]) for number in numbers)
    return [line for line in lines if line.text.strip()]


def _shown(line: str, window_start: int) -> tuple[str, list[int]]:
    """Return the window of a line as it is shown, and the terminal columns that each character of it takes."""
    window = line[window_start : window_start + MAX_EXCERPT_COLUMNS]
    shown, widths = (window, [1] * len(window)) if window.isascii() and window.isprintable() else _drawn(window)
    left = _ELLIPSIS if window_start else ""
    right = _ELLIPSIS if window_start + len(window) < len(line) else ""
    return f"{left}{shown}{right}", widths


def _drawn(window: str) -> tuple[str, list[int]]:
    """Return characters as they are drawn, and their widths, where some are tabs, controls or not ASCII."""
    pieces = []
    widths = []
    column = 0
    for character in window:
        piece = " " * (_TAB_WIDTH - column % _TAB_WIDTH) if character == "\t" else printable(character)
        widths.append(_width(piece))
        column += widths[-1]
        pieces.append(piece)
    return "".join(pieces), widths


def _width(text: str) -> int:
    """Measure a printed character in terminal columns (Unicode 16, East_Asian_Width)."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    if category(text) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(text) in "WF" else 1
