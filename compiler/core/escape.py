"""Text that is safe to show: manifests are hostile until proven otherwise, terminals and log viewers obey them."""

from __future__ import annotations

import re

# C0 and C1 controls, line and paragraph separators, marks that reverse the reading direction
# (Unicode 16, Bidi_Control; "Trojan Source", CVE-2021-42574), surrogates and the two non-characters XML forbids.
# Compiled where it is used: hardly any text needs it.
_UNSAFE = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
_CONTROL_PICTURES = 0x2400
_DELETE_PICTURE = "\u2421"
_REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    """Return `text` with every character that could steer a terminal replaced by one visible character.

    Line breaks and tabs are replaced too, and the number of characters stays, so columns do.
    """
    return text if text.isprintable() else re.sub(_UNSAFE, _picture, text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, but with its line breaks as LF."""
    return "\n".join(printable(line) for line in re.split(r"\r\n|\r|\n", text))


def _picture(match: re.Match[str]) -> str:
    code_point = ord(match.group())
    if code_point < 0x20:
        return chr(_CONTROL_PICTURES + code_point)
    return _DELETE_PICTURE if code_point == 0x7F else _REPLACEMENT
