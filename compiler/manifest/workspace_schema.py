"""The keys that a Workspace may have, from its JSON Schema."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kaitoc.schemas import read_json


@lru_cache(maxsize=1)
def workspace_properties() -> dict[str, Any]:
    """Return the top-level properties of `schemas/workspace/v1beta1.json`, each a schema of its own."""
    properties: dict[str, Any] = read_json("workspace/v1beta1")["properties"]
    return properties
