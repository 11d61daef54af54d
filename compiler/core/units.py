"""Sizes of memory: their units, and how messages and reports word them."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30


def gib(num_bytes: float, decimals: int = 1) -> str:
    """Return a size in GiB without the unit: `12.3`."""
    return f"{num_bytes / GIB:.{decimals}f}"


def format_gib(num_bytes: float, decimals: int = 1) -> str:
    """Return a size in GiB with the unit: `12.3 GiB`."""
    return f"{gib(num_bytes, decimals)} GiB"
