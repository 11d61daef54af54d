"""Models to serve by name, as shapes."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.served_models import ServedConfig, find_served
from kaitoc.compiler.memory.serving.read_shape import read_served_model
from kaitoc.compiler.memory.serving.shape import ServedModel


@lru_cache(maxsize=256)
def served_model(name: str) -> ServedModel | None:
    """Return the shape of a model by catalog name, Kaito preset, hub id or alias, None where no catalog has it."""
    known = find_served(name)
    return shape_of(known) if known is not None else None


@lru_cache(maxsize=256)
def shape_of(known: ServedConfig) -> ServedModel:
    """Return the shape of a model of a catalog."""
    return read_served_model(
        known.name, known.config, max_length_tokens=known.max_length_tokens, checkpoint_bytes=known.checkpoint_bytes
    )
