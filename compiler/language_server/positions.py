"""Places as the protocol counts them: lines from 0, and columns in the code units that client and server agreed on.

UTF-16 code units are the protocol's default, so a character beyond U+FFFF counts twice (LSP 3.17, "Position").
"""

from __future__ import annotations

import re
from bisect import bisect_right

from lsprotocol import types

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span

_SURROGATES = re.compile("[\ud800-\udfff]")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class PositionMap:
    """Maps offsets of a source to positions of the protocol and back."""

    source: Source
    encoding: str = "utf-16"

    def range(self, span: Span) -> types.Range:
        """Convert a span to a protocol range (lines and code units)."""
        return types.Range(self.position(span.start), self.position(span.end))

    def position(self, offset: int) -> types.Position:
        """Return the protocol's position of a character offset."""
        line = bisect_right(self.source.line_starts, offset) - 1
        text = self.source.text[self.source.line_starts[line] : offset]
        return types.Position(line, self._mark_units(line) + self.num_units(text))

    def offset(self, position: types.Position) -> int:
        """Return the character offset of a position; one behind a line's or the text's end means that end."""
        if position.line >= len(self.source.line_starts):
            return len(self.source.text)
        start = self.source.line_starts[position.line]
        units = self._mark_units(position.line)
        text = self.source.line_text(position.line + 1)
        for index, character in enumerate(text):
            units += self.num_units(character)
            if units > position.character:
                return start + index
        return start + len(text)

    def span(self, wanted: types.Range) -> Span:
        """Convert a protocol range (lines and code units) to a span."""
        start = self.offset(wanted.start)
        return Span(start, max(start, self.offset(wanted.end)))

    def num_units(self, text: str) -> int:
        """Return the code units of a text."""
        if self.encoding == "utf-32" or text.isascii():
            return len(text)
        return len(text.encode("utf-8")) if self.encoding == "utf-8" else len(text.encode("utf-16-le")) // 2

    def _mark_units(self, line: int) -> int:
        """Return the units of a byte order mark before the first line, which a source's text does not have."""
        return self.num_units(_BOM) if line == 0 and self.source.has_bom else 0


def source_of_text(path: str, text: str) -> Source:
    """Return an editor's text as a source; half a surrogate pair, which no file can hold, becomes U+FFFD."""
    clean = _SURROGATES.sub("\ufffd", text)
    return Source(path, clean.removeprefix(_BOM), clean.startswith(_BOM))
