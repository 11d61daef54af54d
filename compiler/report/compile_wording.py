"""How compile reports word sizes, speeds and what a change keeps."""

from __future__ import annotations

from kaitoc.compiler.compile_model import Performance
from kaitoc.compiler.passes.model import Preserves

_GIB = 1 << 30
_PRESERVES = {
    Preserves.INTENT: "restores what was meant",
    Preserves.EXACT: "same result",
    Preserves.STATISTICAL: "statistically the same result",
    Preserves.CHANGES: "changes the result",
}


def gib(num_bytes: int | None) -> str:
    """Return bytes in GiB, or a word for what cannot be told."""
    return "unknown" if num_bytes is None else f"{num_bytes / _GIB:.1f} GiB"


def speed_text(tokens_per_second: float | None) -> str:
    """Return tokens per second, or a word for what cannot be told."""
    return "unknown" if tokens_per_second is None else f"{tokens_per_second:,.0f} tokens/s"


def cost_text(performance: Performance, price_per_hour: float) -> str:
    """Return the price of a million tokens at a price per hour of the instance."""
    speed = performance.tokens_per_second
    return "unknown" if not speed else f"{price_per_hour / 3600 / speed * 1e6:.3f}"


def preserves_text(preserves: Preserves) -> str:
    """Return what a change keeps of the training result, in words."""
    return _PRESERVES[preserves]
