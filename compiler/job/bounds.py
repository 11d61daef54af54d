"""The bounds of what may be assumed, for options, settings files and callers alike."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a number may be."""

    least: float
    most: float

    @property
    def words(self) -> str:
        """Format them as `from 0 to 90`."""
        return f"from {self.least:,g} to {self.most:,.0f}"

    def include(self, value: float) -> bool:
        """Return whether a number is within the bounds; NaN is not."""
        return self.least <= value <= self.most


MARGIN_PERCENT = Bounds(0, 90)
GPU_MEMORY_GIB = Bounds(1, 4096)
"""A GPU stated in MiB, such as 81920, is above."""
SEQ_LEN_TOKENS = Bounds(1, 100_000_000)
