"""Regular expressions that are compiled when they are first used: a check of one file needs one in three."""

from __future__ import annotations

import re

from kaitoc.compiler.core.annotations import Any, cast

_METHODS = ("findall", "finditer", "fullmatch", "match", "search", "split", "sub")


class _Pattern:
    """Becomes the expression's methods and attributes at the first use of one."""

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(self._text, self._flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def pattern(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return an expression as `re.compile` does; a mistake in it is raised where it is first used."""
    return cast("re.Pattern[str]", _Pattern(text, flags))
