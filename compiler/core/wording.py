"""Words for messages: lists of names, and the names that were meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MOST_NAMES = 8


def join_names(names: Iterable[str]) -> str:
    """Return names in backticks, as a sentence lists them: `` `a`, `b` and `c` ``."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def join_first(names: Sequence[str]) -> str:
    """Return names as a sentence lists them, of many the first ones and how many more there are."""
    if len(names) <= _MOST_NAMES:
        return join_names(names)
    shown = ", ".join(f"`{name}`" for name in names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more"


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question that ends a message about an unknown name, empty without a name that is close."""
    return f"; did you mean {_alternatives(names[:3])}?" if names else ""


def _alternatives(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
