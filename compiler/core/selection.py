"""Which rules run and at which severity: selectors are `ALL`, a code, the start of a code, or a rule's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kaitoc.compiler.core.annotations import Literal
from kaitoc.compiler.core.areas import CODE_PREFIX

Level = Literal["off", "info", "warning", "error"]
"""The severities that a setting can give a rule."""

ALL = "ALL"
_NO_MATCH = -1
_EXACT = 1_000


def specificity(selector: str, code: str, name: str) -> int:
    """Rate how specifically a selector matches a rule: -1 no match, 0 `ALL`, higher for longer code prefixes."""
    if selector in (code, name):
        return _EXACT
    if selector == ALL:
        return 0
    return len(selector) if selector.startswith(CODE_PREFIX) and code.startswith(selector) else _NO_MATCH


def is_selected(code: str, name: str, select: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    """Return whether a rule runs: the closest selector decides, and `ignore` wins a draw."""
    if not ignore and ALL in select:
        return True
    selected = max((specificity(selector, code, name) for selector in select), default=_NO_MATCH)
    ignored = max((specificity(selector, code, name) for selector in ignore), default=_NO_MATCH)
    return selected > ignored


def closest(selectors: Iterable[str], code: str, name: str) -> str | None:
    """Return the selector that names a rule most closely, None when none does."""
    best = max(selectors, key=lambda selector: specificity(selector, code, name), default=None)
    return None if best is None or specificity(best, code, name) == _NO_MATCH else best


def unknown_selectors(selectors: Iterable[str], rules: Mapping[str, str]) -> list[str]:
    """Return the selectors that name none of the rules, which are given as name by code."""
    return [
        selector
        for selector in selectors
        if all(specificity(selector, code, name) == _NO_MATCH for code, name in rules.items())
    ]
