"""Marks in the texts of a conversation, which survive a chat template and tell where it put each of them.

A mark is one character of a private plane behind the last visible character of a text, so that templates may strip,
split and quote the text as they do without it. Taking the marks out of what a template renders must give what it
renders without them; otherwise they are of no use and `read_marks` says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kaitoc.runtime.data.messages import Message

_FIRST, _LAST = 0xF0000, 0x10FFFD
_MARK = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_UNMARKED = ("type", "id", "tool_call_id")
"""Keys whose values templates compare rather than show."""


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text of a conversation that carries a mark: of which turn and which key of it, and the text itself."""

    turn: int
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a marked text stands in a rendering, as far as the template left its end as it is."""

    turn: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Marked:
    """A conversation whose texts carry marks."""

    messages: tuple[Message, ...]
    texts: tuple[MarkedText, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a template first put the texts of a conversation, in the order of the rendering, and those it left out."""

    places: tuple[Place, ...]
    removed: tuple[MarkedText, ...]

    def of_turn(self, turn: int) -> list[int]:
        """Return the indices of a turn's places."""
        return [index for index, place in enumerate(self.places) if place.turn == turn]


def mark(messages: Sequence[Message]) -> Marked:
    """Return a conversation with a mark behind each of its texts."""
    marker = _Marker()
    return Marked(tuple(marker.message(index, message) for index, message in enumerate(messages)), tuple(marker.texts))


def read_marks(marked: Marked, rendered: str, text: str) -> Places | None:
    """Find where a template put each text, None when the marks change the rendering or come back unknown."""
    if _MARK.sub("", rendered) != text:
        return None
    found = [(ord(match[0]) - _FIRST, match.start()) for match in _MARK.finditer(rendered)]
    if any(number >= len(marked.texts) for number, _ in found):
        return None
    ends: dict[int, int] = {}
    for index, (number, start) in enumerate(found):
        ends.setdefault(number, start - index)
    removed = [
        marked_text
        for number, marked_text in enumerate(marked.texts)
        if number not in ends or not _is_whole(marked_text, ends[number], text)
    ]
    return Places(tuple(_place(marked.texts[number], end, text) for number, end in ends.items()), tuple(removed))


def _place(marked: MarkedText, end: int, text: str) -> Place:
    shown = text[max(0, end - len(marked.text)) : end]
    pairs = zip(reversed(marked.text), reversed(shown), strict=False)
    length = next((number for number, (one, other) in enumerate(pairs) if one != other), len(shown))
    return Place(marked.turn, end - length, end)


def _is_whole(marked: MarkedText, end: int, text: str) -> bool:
    """Return whether a content is rendered with what it holds between think tags, which some templates drop."""
    if marked.key != "content" or "</think>" not in marked.text:
        return True
    thought = marked.text.partition("</think>")[0].rpartition("<think>")[2].strip()
    return thought in text[:end]


class _Marker:
    """Gives each text of a conversation its mark."""

    def __init__(self) -> None:
        self.texts: list[MarkedText] = []

    def message(self, turn: int, message: Message) -> Message:
        extras = {
            key: value if key in (*_UNMARKED, "name") else self._value(turn, key, value)
            for key, value in message.extras.items()
        }
        content = message.content
        if content == "" and not message.extras:
            content = self._text(turn, "content", "")
        elif content is not None:
            content = self._value(turn, "content", content)
        return replace(message, content=content, extras=extras)

    def _value(self, turn: int, key: str, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(turn, key, value) if value.strip() else value
        if isinstance(value, dict):
            return {name: item if name in _UNMARKED else self._value(turn, key, item) for name, item in value.items()}
        return [self._value(turn, key, item) for item in value] if isinstance(value, list) else value

    def _text(self, turn: int, key: str, text: str) -> str:
        if len(self.texts) > _LAST - _FIRST:
            return text  # no row of real data has as many
        visible = text.rstrip()
        self.texts.append(MarkedText(turn, key, visible.lstrip()))
        return visible + chr(_FIRST + len(self.texts) - 1) + text[len(visible) :]
