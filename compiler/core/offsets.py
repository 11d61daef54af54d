"""From places in a changed text back to places in the text it was made from."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, Span


@dataclass(slots=True)
class TextHistory:
    """The edits made to one file, one set after the other; each set's spans are those of the text before it."""

    _steps: list[tuple[Edit, ...]] = field(default_factory=list)

    def add(self, source: Source, edits: Iterable[Edit]) -> None:
        """Note a set of edits, of which those to other sources are passed over."""
        own = (edit for edit in edits if edit.source is source)
        self._steps.append(tuple(sorted(own, key=lambda edit: edit.span)))

    def original_span(self, span: Span) -> Span:
        """Return the span of the first text from which a span of the last one came."""
        start, end = span
        for edits in reversed(self._steps):
            start, end = _before(start, edits), _before(end, edits)
        return Span(start, max(start, end))


def _before(offset: int, edits: tuple[Edit, ...]) -> int:
    """Map an offset back to the text before a set of edits; inside a replacement, to its start.

    In text that was moved it is where the same character stood.
    """
    shift = 0
    for edit in edits:
        new_start = edit.span.start + shift
        growth = len(edit.replacement) - (edit.span.end - edit.span.start)
        if offset < new_start:
            break
        if offset < new_start + len(edit.replacement):
            moved_from = _moved_from(edit, edits)
            return edit.span.start if moved_from is None else moved_from + offset - new_start
        shift += growth
    return offset - shift


def _moved_from(edit: Edit, edits: tuple[Edit, ...]) -> int | None:
    """Find the original place of text that the set moves, None for new text."""
    taken_away = (other.span for other in edits if other.span.end > other.span.start and not other.replacement)
    return next((span.start for span in taken_away if edit.source.slice(span) == edit.replacement), None)
