"""Colors for terminals, and when to use them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from kaitoc.compiler.core.annotations import TextIO
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import dataclass

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_DIM = "\x1b[2m"
_SEVERITY = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.INFO: "\x1b[1;34m"}
_RELATED = "\x1b[36m"
_FIX = "\x1b[1;32m"
_DIFF = {"---": _BOLD, "+++": _BOLD, "@@": _DIM, "-": "\x1b[31m", "+": "\x1b[32m"}


class Color(Enum):
    """Whether to color: on a terminal that can, or whatever the output is."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def wants_color(stream: TextIO, environment: Mapping[str, str], color: Color = Color.AUTO) -> bool:
    """Return whether to color: as asked, else `NO_COLOR` says no, `FORCE_COLOR` yes, else on a capable terminal.

    Sources: no-color.org and force-color.org; an empty value counts as unset.
    """
    if color is not Color.AUTO:
        return color is Color.ALWAYS
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class Style:
    """Paints pieces of text, or leaves them plain."""

    color: bool

    def severity(self, severity: Severity, text: str) -> str:
        """Paint what belongs to the finding itself: its severity and carets."""
        return _paint(_SEVERITY[severity], text) if self.color else text

    def strong(self, text: str) -> str:
        """Paint what the eye should find first."""
        return _paint(_BOLD, text) if self.color else text

    def faint(self, text: str) -> str:
        """Paint what frames the content: line numbers and bars."""
        return _paint(_DIM, text) if self.color else text

    def related(self, text: str) -> str:
        """Paint the marks of a related place."""
        return _paint(_RELATED, text) if self.color else text

    def fix(self, text: str) -> str:
        """Paint the word that a fix exists."""
        return _paint(_FIX, text) if self.color else text

    def diff(self, text: str) -> str:
        """Paint a unified diff: what goes red, what comes green, the places faint."""
        return "".join(self._diff_line(line) for line in text.splitlines(keepends=True))

    def _diff_line(self, line: str) -> str:
        for mark, code in _DIFF.items():
            if line.startswith(mark):
                content = line.rstrip("\n")
                return (_paint(code, content) if self.color else content) + line[len(content) :]
        return line


def _paint(code: str, text: str) -> str:
    return f"{code}{text}{_RESET}" if text else text
