"""A config written as a quoted scalar: the YAML inside, up to the cursor and behind it."""

from __future__ import annotations

import re

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.manifest.recognition import DATA_KEY, SERVING_DATA_KEY

_KEYS = "|".join(map(re.escape, (DATA_KEY, SERVING_DATA_KEY)))
_OPENING = re.compile(rf"^[ ]*(?P<key>{_KEYS})[ ]*:[ ]*(?P<quote>[\"'])", re.MULTILINE)
_BREAKS = r"[ \t]*(?P<breaks>\n(?:[ \t]*\n)*)[ \t]*"
_PIECES = {
    '"': re.compile(rf"\\(?P<escaped>[^\n])|\\\n[ \t]*|{_BREAKS}|(?P<plain>[^\\\n\" \t]+|[ \t])"),
    "'": re.compile(rf"(?P<escaped>'')|{_BREAKS}|(?P<plain>[^\n' \t]+|[ \t])"),
}
_ESCAPES = {"n": "\n", "t": "\t", "''": "'"}


@dataclass(frozen=True, slots=True)
class QuotedText:
    """The inner text around the cursor, and the key that it is the value of."""

    key: str
    before: str
    after: str
    quote: str

    def written(self, text: str) -> str:
        """Escape a text for the inside of these quotes."""
        return text.replace("\n", "\\n") if self.quote == '"' else text


def quoted_text_at(text: str, offset: int) -> QuotedText | None:
    """Return the inner text at an offset of a YAML document, None where no quoted config is open."""
    openings = list(_OPENING.finditer(text, 0, offset))
    if not openings:
        return None
    opening = openings[-1]
    quote = opening["quote"]
    before, end = _decoded(text[opening.end() : offset], quote)
    if end < offset - opening.end():
        return None
    return QuotedText(opening["key"], before, _decoded(text[offset:], quote)[0], quote)


def _decoded(written: str, quote: str) -> tuple[str, int]:
    """Decode the text up to the closing quote; return it and where it ended."""
    pieces, place = [], 0
    while (piece := _PIECES[quote].match(written, place)) is not None and piece.end() > place:
        found = piece.groupdict()
        if found["breaks"]:
            pieces.append("\n" * (found["breaks"].count("\n") - 1) or " ")
        elif found["escaped"]:
            pieces.append(_ESCAPES.get(found["escaped"], found["escaped"]))
        else:
            pieces.append(found["plain"] or "")
        place = piece.end()
    return "".join(pieces), place
