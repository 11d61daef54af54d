"""Where packed documents attend to each other (`schemas/catalog/packing.json`, with its source)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json

SHARED_STRATEGY = "wrapped"
"""TRL's strategy that ignores where documents end, on every model."""


@dataclass(frozen=True, slots=True)
class _Leaks:
    kernels: frozenset[str]
    model_types: frozenset[str]


@lru_cache(maxsize=1)
def _leaks() -> _Leaks:
    content = read_json("catalog/packing")
    return _Leaks(frozenset(content["kernels"]), frozenset(content["leaking_model_types"]))


def is_known_to_leak(model_type: str, attention: str) -> bool:
    """Return whether a document that is packed with positions of its own sees the one packed before it.

    False where it is not known: the runtime measures it before it trains.
    """
    leaks = _leaks()
    return attention in leaks.kernels and model_type in leaks.model_types
