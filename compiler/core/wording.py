"""Words for messages: lists of names, sizes."""

from __future__ import annotations

from collections.abc import Iterable

_GIB = 1 << 30


def join_names(names: Iterable[str]) -> str:
    """Return names in backticks, as a sentence lists them: `` `a`, `b` and `c` ``."""
    quoted = [f"`{name}`" for name in names]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def gib(num_bytes: float) -> str:
    """Return a size in GiB with one decimal, without the unit."""
    return f"{num_bytes / _GIB:.1f}"
