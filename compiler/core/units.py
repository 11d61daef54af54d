"""Units of memory and of networks, and how messages and reports word sizes."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30
BYTES_PER_GBIT = 1e9 / 8


def gib(num_bytes: float, decimals: int = 1) -> str:
    """Return a size in GiB without the unit: `12.3`."""
    return f"{num_bytes / GIB:.{decimals}f}"


def format_gib(num_bytes: float, decimals: int = 1) -> str:
    """Return a size in GiB with the unit: `12.3 GiB`."""
    return f"{gib(num_bytes, decimals)} GiB"
