"""Encoders of images and video (`schemas/catalog/encoders.json`, each with its source)."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


@dataclass(frozen=True, slots=True)
class Encoder:
    """The widths of an encoder's layers, and the largest item that vLLM profiles it with.

    `patches` go in and `tokens` come out, each patch with `patch_features` values. `modalities` are what it encodes.
    """

    hidden_size: int
    intermediate_size: int
    patches: int
    tokens: int
    patch_features: int
    modalities: tuple[str, ...]


@lru_cache(maxsize=16)
def find_encoder(model_type: str) -> Encoder | None:
    """Return the encoder of models with a type of decoder, None where it is not known."""
    entries = read_json("catalog/encoders")["encoders"]
    entry = entries.get(model_type)
    if entry is None:
        return None
    entry = entries[entry["like"]] if "like" in entry else entry
    return Encoder(
        hidden_size=entry["hidden_size"],
        intermediate_size=entry["intermediate_size"],
        patches=entry["patches"],
        tokens=entry["tokens"],
        patch_features=entry["patch_features"],
        modalities=tuple(entry["modalities"]),
    )
