"""Where the cursor is inside `{...}` or `[...]`, by the characters from the line that opens them."""

from __future__ import annotations

import re

from kaitoc.compiler.core.records import dataclass, field

_MOST_CHARACTERS = 20_000
"""A flow collection that is longer is not read while somebody types."""
_SCALAR = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|[^\s,:{}\[\]#\"'](?:[^,:{}\[\]#\n]|:(?!\s|$))*")
_COMMENT = re.compile(r"#.*")


@dataclass(slots=True)
class Frame:
    """An open collection: what opened it and where, the key whose value is read, and the keys that are complete."""

    opener: str
    start: int
    key: str | None = None
    keys: list[str] = field(default_factory=list)


def open_frames(text: str) -> list[Frame]:
    """Return the collections that are open at the end of a text, outermost first; the text begins with the first."""
    frames: list[Frame] = []
    scalar, place = "", 0
    while place < min(len(text), _MOST_CHARACTERS):
        character = text[place]
        token = _COMMENT.match(text, place) or _SCALAR.match(text, place)
        if token is not None:
            scalar = token.group().strip().strip("\"'") if character != "#" else scalar
            place = token.end()
            continue
        if character in "{[":
            frames.append(Frame(character, place))
        elif character in "}]":
            frames.pop()
            if not frames:
                return []
        elif character == ":" and frames[-1].opener == "{":
            frames[-1].key = scalar
            frames[-1].keys.append(scalar)
        elif character == ",":
            frames[-1].key = None
        scalar = "" if character in "{[," else scalar
        place += 1
    return frames


def keys_after(text: str) -> list[str]:
    """Return the keys that follow in the mapping which is open where a text begins."""
    frames, inner = [Frame("{", 0)], "{" + text
    for end in (place for place, character in enumerate(inner) if character in "}]\n"):
        found = open_frames(inner[:end])
        if not found:
            break
        frames = found[:1]
        if inner[end] in "}]" and len(found) == 1:
            break
    return frames[0].keys if frames else []
