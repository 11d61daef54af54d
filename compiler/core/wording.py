"""Words for messages: lists of names, and the names that were meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def join_names(names: Iterable[str]) -> str:
    """Return names in backticks, as a sentence lists them: `` `a`, `b` and `c` ``."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question that ends a message about an unknown name, empty without a name that is close."""
    return f"; did you mean {' or '.join(f'`{name}`' for name in names[:3])}?" if names else ""
