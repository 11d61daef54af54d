"""Where each character of a scalar's value stands in the file.

The YAML inside a ConfigMap's scalar is parsed from the scalar's *value*; its spans must point into the *file*. So the
value is read again from the raw text, noting where each character came from, for every scalar style. The result is
compared with the value that libyaml read: where they differ the map is inexact and every span names the best line
only. This is the one place where a position may be approximate; `ScalarMap.exact` says so.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, Span, make_span
from kaitoc.compiler.yaml.tree import Scalar

_BREAKS = "\r\n\x85\u2028\u2029"
_KEPT_BREAKS = ("\u2028", "\u2029")
"""Line breaks that stand in a value as they are; YAML 1.1 reads the others as line feeds."""
_OTHER_BREAK = "\r(?!\n)|[\x85\u2028\u2029]"
_ESCAPE_LENGTHS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip


class _MismatchError(Exception):
    """The raw text was not read the way libyaml reads it."""


@dataclass(frozen=True, slots=True, eq=False)
class ScalarMap:
    """Maps ranges of a scalar's value to spans of the file.

    Character `i` of the value stands `starts[i]` characters behind the scalar's first one, which is at `outer_start`.
    It is written as one character, or else ends where `ends` says. `indent` is the number of spaces before the
    content lines of a block scalar, 0 for other styles.
    """

    value: str
    starts: Sequence[int]
    ends: Mapping[int, int]
    outer_start: int
    outer_end: int
    style: str | None
    indent: int
    newline: str
    exact: bool = True

    def span(self, start: int, end: int) -> Span:
        """Return the outer span of `value[start:end]`; an empty range gives an empty span."""
        starts = self.starts
        if start >= len(starts):
            return Span(self.outer_end, self.outer_end)
        first = starts[start]
        if end <= start:
            return Span(self.outer_start + first, self.outer_start + first)
        last = min(end, len(starts)) - 1
        after = self.ends.get(last, starts[last] + 1)
        return make_span(self.outer_start + first, self.outer_start + max(first, after))

    def inner_text(self, outer: Span) -> str:
        """Return the part of the value that stands under an outer span."""
        return self.value[self._index(outer.start) : self._index(outer.end)]

    def column(self, outer_offset: int) -> int:
        """Count the characters before an outer offset on its line of the value."""
        index = self._index(outer_offset)
        return index - self.value.rfind("\n", 0, index) - 1

    def line_end(self, outer_offset: int) -> int:
        """Return the outer offset at which the value's line of an outer offset ends."""
        index = self.value.find("\n", self._index(outer_offset))
        return self.outer_start + self.starts[index] if index >= 0 else self.outer_end

    def previous_line_end(self, outer_offset: int) -> int:
        """Find the end of the value's line before an outer offset's, or the start of the first line."""
        index = self.value.rfind("\n", 0, self._index(outer_offset))
        return self.outer_start + self.starts[max(index, 0)]

    def _index(self, outer_offset: int) -> int:
        return bisect_left(self.starts, outer_offset - self.outer_start)

    def moved(self, by: int) -> ScalarMap:
        """Return the map of the same text where it stands a number of characters further on."""
        return replace(self, outer_start=self.outer_start + by, outer_end=self.outer_end + by)

    def encode(self, text: str) -> str:
        """Return inner YAML text as it must be written inside the outer scalar."""
        if self.style == '"':
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            return escaped.replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")
        if self.style == "'":
            return text.replace("'", "''").replace("\n", self.newline * 2)
        if self.style in ("|", ">"):
            return text.replace("\n", self.newline + " " * self.indent)
        return text.replace("\n", self.newline * 2)


def map_scalar(source: Source, scalar: Scalar) -> ScalarMap:
    """Return the map of a scalar that stands directly in a source."""
    raw = source.slice(scalar.span)
    reader = _Reader(raw, scalar.value)
    indent = 0
    try:
        if scalar.style in ("|", ">"):
            indent = reader.block_indent()
            read = reader.read_literal if scalar.style == "|" else reader.read_folded
            read(indent)
        else:
            reader.read_flow(scalar.style)
        exact = True
    except (_MismatchError, ValueError, IndexError):
        reader = _Reader(raw, scalar.value)
        reader.read_approximately()
        exact = False
    start, end = scalar.span
    return ScalarMap(scalar.value, reader.starts, reader.ends, start, end, scalar.style, indent, source.newline, exact)


def map_text(source: Source) -> ScalarMap:
    """Return the map of a whole file that is YAML itself: as of a literal block that is not indented."""
    text = source.text
    starts = [offset for offset, character in enumerate(text) if character != "\n" or text[offset - 1 : offset] != "\r"]
    # A break of two characters stands where its first one does.
    ends = {index: start + 2 for index, start in enumerate(starts) if text.startswith("\r\n", start)}
    value = text.replace("\r\n", "\n")
    is_exact = re.search(_OTHER_BREAK, text) is None
    return ScalarMap(value, starts, ends, 0, len(text), "|", 0, source.newline, is_exact)


def _lines(raw: str) -> list[tuple[int, int]]:
    """Return start and end, without the break, of each line of a raw scalar, by YAML's line breaks."""
    lines = []
    start = 0
    for line in raw.splitlines(keepends=True):  # it breaks at control characters too, which libyaml refuses
        lines.append((start, start + len(line.rstrip(_BREAKS))))
        start += len(line)
    if raw[-1:] in _BREAKS:
        lines.append((start, start))
    return lines


class _Reader:
    """Reads a raw scalar again and notes the place of every character of its value."""

    def __init__(self, raw: str, value: str) -> None:
        self.starts: list[int] = []
        self.ends: dict[int, int] = {}
        self._raw = raw
        self._value = value
        self._lines = _lines(raw)

    def block_indent(self) -> int:
        """Return a block scalar's indentation: the spaces in the file less those that belong to the value."""
        for start, end in self._lines[1:]:
            line = self._raw[start:end]
            if line.strip(" "):
                content = self._value.lstrip(_BREAKS)
                return (len(line) - len(line.lstrip(" "))) - (len(content) - len(content.lstrip(" ")))
        return 0

    def _take(self, start: int, end: int) -> None:
        """Take characters of the raw text that stand in the value as they are."""
        if not self._value.startswith(self._raw[start:end], len(self.starts)):
            raise _MismatchError
        self.starts.extend(range(start, end))

    def _note(self, start: int, end: int, count: int = 1) -> None:
        """Note that each of the next characters of the value is written in one range of the raw text."""
        index = len(self.starts)
        self.starts.extend([start] * count)
        self.ends.update(dict.fromkeys(range(index, index + count), end))

    def _put(self, character: str, start: int, end: int) -> None:
        """Take one character of the value that is written differently in the raw text."""
        if self._value[len(self.starts)] != character:
            raise _MismatchError
        self._note(start, end)

    def _finish(self, end: int) -> None:
        """Map what is left of the value, which may only be line breaks and blanks, to the end of the raw text."""
        num_remaining = len(self._value) - len(self.starts)
        if self._value[len(self.starts) :].strip(" \t" + _BREAKS):
            raise _MismatchError
        self._note(end, end, num_remaining)

    def read_literal(self, indent: int) -> None:
        """Follow a literal block, whose lines and breaks stand in the value as they are."""
        previous_end: int | None = None
        for start, end in self._lines[1:]:
            content_start = min(start + indent, end)
            if previous_end is not None:
                if self._value[len(self.starts)] not in _BREAKS:
                    raise _MismatchError
                self.ends[len(self.starts)] = content_start
                self.starts.append(previous_end)
            self._take(content_start, end)
            previous_end = end
        self._finish(len(self._raw))

    def read_folded(self, indent: int) -> None:
        """Follow a folded block line by line."""
        previous_end: int | None = None
        for start, end in self._lines[1:]:
            content_start = min(start + indent, end)
            if content_start == end:
                continue
            self._separator(content_start if previous_end is None else previous_end)
            self._take(content_start, end)
            previous_end = end
        self._finish(len(self._raw))

    def _separator(self, place: int) -> None:
        """Take what a line break was folded to: a blank, or as many breaks as there are."""
        position = len(self.starts)
        count = 1
        if self._value[position : position + 1] != " ":
            remaining = self._value[position:]
            count = len(remaining) - len(remaining.lstrip(_BREAKS))
        for _ in range(count):
            if self._value[len(self.starts)] not in " " + _BREAKS:
                raise _MismatchError
            self._note(place, place)

    def read_flow(self, style: str | None) -> None:
        """Follow a plain, single-quoted or double-quoted scalar character by character."""
        index, stop = (1, len(self._raw) - 1) if style else (0, len(self._raw))
        while index < stop:
            character = self._raw[index]
            if character in " \t" + _BREAKS:
                index = self._blanks(index, stop, escaped=False)
            elif style == "'" and character == "'":
                self._put("'", index, index + 2)
                index += 2
            elif style == '"' and character == "\\":
                index = self._escape(index, stop)
            else:
                self._take(index, index + 1)
                index += 1
        if len(self.starts) != len(self._value):
            raise _MismatchError

    def _blanks(self, index: int, stop: int, *, escaped: bool) -> int:
        """Take a run of blanks: as it is within a line, folded when it contains line breaks."""
        end = index
        breaks = ""
        while end < stop and self._raw[end] in " \t" + _BREAKS:
            if self._raw[end] in _BREAKS:
                breaks += self._raw[end] if self._raw[end] in _KEPT_BREAKS else "\n"
                end += 2 if self._raw.startswith("\r\n", end) else 1
            else:
                end += 1
        if not breaks:
            self._take(index, end)
        elif breaks == "\n" and not escaped:
            self._put(" ", index, end)
        for character in breaks if breaks[:1] in _KEPT_BREAKS and not escaped else breaks[1:]:
            self._put(character, index, end)
        return end

    def _escape(self, index: int, stop: int) -> int:
        code = self._raw[index + 1]
        if code in _BREAKS:
            return self._blanks(index + 1, stop, escaped=True)
        if code in _ESCAPE_LENGTHS:
            end = index + 2 + _ESCAPE_LENGTHS[code]
            self._put(chr(int(self._raw[index + 2 : end], 16)), index, end)
            return end
        self._put(_ESCAPES.get(code, ""), index, index + 2)
        return index + 2

    def read_approximately(self) -> None:
        """Map every line of the value to the raw line of the same number, or to the last one."""
        first = 1 if self._raw[:1] in ("|", ">") and len(self._lines) > 1 else 0
        for number, line in enumerate(self._value.splitlines(keepends=True)):
            start, end = self._lines[min(first + number, len(self._lines) - 1)]
            self._note(start, end, len(line))
