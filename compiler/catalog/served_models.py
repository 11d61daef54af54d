"""Models that can be served, by name: those of the catalog and `schemas/catalog/served_models.json`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.frozen import FrozenMapping
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.units import GIB
from kaitoc.schemas import read_json

_FILE = "schemas/catalog/served_models.json"
_HALF_BYTES = 2


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """The `config.json` of a model, with the size of its weight files in `checkpoint_bytes`, None where it is unknown.

    Where the catalog states no size it is that of the parameters in half precision.
    """

    name: str
    hf_id: str
    config: FrozenMapping = field(repr=False)
    checkpoint_bytes: int | None = None
    max_length_tokens: int = 0

    def __hash__(self) -> int:
        return hash((self.name, self.hf_id))


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    by_name: dict[str, dict[str, Any]] = {}
    for entry in read_json("catalog/served_models")["models"]:
        for name in (entry["name"], entry["hf_id"], *entry["aliases"]):
            by_name[name.lower()] = entry
    return by_name


@lru_cache(maxsize=256)
def find_served(name: str) -> ServedConfig | None:
    """Return a model to serve by catalog name, Kaito preset, hub id or alias, in any case."""
    entry = _entries().get(name.strip().lower())
    if entry is not None:
        stated = entry.get("checkpoint_gib")
        return ServedConfig(
            entry["name"],
            entry["hf_id"],
            FrozenMapping(_config(entry)),
            int(stated * GIB) if stated is not None else None,
        )
    model = find_model(name)
    if model is None:
        return None
    return ServedConfig(
        model.name, model.hf_id, model.config, model.num_parameters * _HALF_BYTES, model.max_position_embeddings
    )


def served_names() -> tuple[str, ...]:
    """Return the names of the models that only serve."""
    return tuple(entry["name"] for entry in read_json("catalog/served_models")["models"])


def suggest_served(name: str) -> list[str]:
    """Return the names of models to serve that are closest to a name, the closest first."""
    from difflib import get_close_matches

    from kaitoc.compiler.catalog.models import suggest_models

    matches = [_entries()[match]["name"] for match in get_close_matches(name.lower(), _entries(), n=5, cutoff=0.5)]
    return list(dict.fromkeys([*matches, *suggest_models(name)]))[:3]


def _config(entry: dict[str, Any]) -> Mapping[str, Any]:
    """Return an entry's config, over that of the model it is like."""
    own = dict(entry["config"])
    like = own.pop("like", None)
    if like is None:
        return own
    base = _entries().get(like)
    known = find_model(like) if base is None else None
    if base is None and known is None:
        raise CatalogError(f"{_FILE}: {entry['name']} is like {like}, which no catalog has")
    found = _config(base) if base is not None else dict(known.config) if known is not None else {}
    return _merged(found, own)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return merged
