"""The areas of the rules; the digit behind `KT` in a rule's code says which it is."""

from __future__ import annotations

from enum import Enum

CODE_PREFIX = "KT"
"""What every code begins with."""

_DIGITS = len(CODE_PREFIX) + 1


class Area(Enum):
    """What a rule is about, by the first characters of its code, in the order of the index."""

    MANIFEST = "KT1"
    SCHEMA = "KT2"
    ADMISSION = "KT3"
    RESULT = "KT4"
    MEMORY = "KT5"
    SPEED = "KT6"
    SERVING = "KT7"
    ENGINES = "KT8"

    @property
    def title(self) -> str:
        """Return the heading of the area in the rule index."""
        return _TITLES[self]


_TITLES = {
    Area.MANIFEST: "Manifest and YAML",
    Area.SCHEMA: "What the runtime's parser refuses",
    Area.ADMISSION: "What Kaito's admission or controller rejects",
    Area.RESULT: "What crashes, or trains something else",
    Area.MEMORY: "Memory",
    Area.SPEED: "Throughput and cost",
    Area.SERVING: "Serving",
    Area.ENGINES: "Other engines",
}


def area_of(code: str) -> Area:
    """Return the area of a rule; raises `ValueError` for a code that belongs to none."""
    return Area(code[:_DIGITS])
