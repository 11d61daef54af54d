"""Models by name (`schemas/catalog/models.json`)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.core.annotations import Any
from kaitoc.schemas import read_json

_FILE = "schemas/catalog/models.json"
_KEYS = ("name", "hf_id", "aliases", "config")


@lru_cache(maxsize=1)
def _entries() -> dict[str, dict[str, Any]]:
    """Return the catalog's entries by every name they go by, in lower case."""
    by_name: dict[str, dict[str, Any]] = {}
    for entry in read_json("catalog/models")["models"]:
        missing = [key for key in _KEYS if key not in entry]
        if missing:
            keys = ", ".join(f"`{key}`" for key in missing)
            raise CatalogError(f"{_FILE}: the model {entry.get('name', 'without a name')} lacks {keys}")
        for name in (entry["name"], entry["hf_id"], *entry["aliases"]):
            by_name[name.lower()] = entry
    return by_name


def find_model(name: str) -> Architecture | None:
    """Return a model by catalog name, Kaito preset, hub id or alias, in any case."""
    by_name = _entries()
    entry = by_name.get(name) or by_name.get(name.strip().lower())
    return _architecture(entry["name"]) if entry is not None else None


def all_models() -> tuple[Architecture, ...]:
    """Return every model of the catalog, by name."""
    return tuple(_architecture(entry["name"]) for entry in read_json("catalog/models")["models"])


def suggest_models(name: str) -> list[str]:
    """Return the catalog names closest to a name, the closest first."""
    from difflib import get_close_matches

    matches = get_close_matches(name.lower(), _entries(), n=5, cutoff=0.5)
    return list(dict.fromkeys(_entries()[match]["name"] for match in matches))[:3]


def lacks_pad_token(model: Architecture) -> bool:
    """Return whether a model's tokenizer is known to have no padding token of its own."""
    return _tokenizer_lacks(model, "pad_token")


def turn_end(model: Architecture) -> str:
    """Look up the end-of-turn text of a tokenizer that pads with its EOS token; empty where padding is separate."""
    return str(_entries().get(model.name.lower(), {}).get("turn_end", ""))


def lacks_chat_template(model: Architecture) -> bool:
    """Return whether a model's tokenizer is known to have no chat template, as those of base models have none."""
    return _tokenizer_lacks(model, "chat_template")


def _tokenizer_lacks(model: Architecture, part: str) -> bool:
    return part in _entries().get(model.name.lower(), {}).get("tokenizer_lacks", ())


@lru_cache(maxsize=128)
def _architecture(name: str) -> Architecture:
    entry = _entries()[name.lower()]
    try:
        return from_config(
            entry["name"],
            entry["config"],
            hf_id=entry["hf_id"],
            aliases=tuple(entry["aliases"]),
            num_parameters=entry.get("num_parameters"),
        )
    except ArchitectureError as error:
        raise CatalogError(f"{_FILE}: {error}") from None
