"""JSON Schemas and catalogs, shipped as package data."""

from __future__ import annotations

import json
import os
from functools import lru_cache

TYPE_CHECKING = False  # as `typing` has it, which a check does without
if TYPE_CHECKING:
    from typing import Any


ROOT = os.path.dirname(os.path.abspath(__file__))


def read_json(name: str) -> Any:
    """Return the content of a JSON file under `schemas/`, named without its suffix (`catalog/gpus`)."""
    with open(os.path.join(ROOT, *name.split("/")) + ".json", encoding="utf-8") as file:
        return json.load(file)


@lru_cache(maxsize=1)
def schema_names() -> tuple[str, ...]:
    """Return the names of the JSON Schemas that ship with kaitoc, sorted; `load_schema` takes each."""
    names: list[str] = []
    for folder, _, files in os.walk(ROOT):
        for file in files:
            path = os.path.join(folder, file)
            if file.endswith(".json") and _is_schema(path):
                names.append(os.path.relpath(path, ROOT).removesuffix(".json").replace(os.sep, "/"))
    return tuple(sorted(names))


def load_schema(name: str) -> dict[str, Any]:
    """Return a JSON Schema by its name, such as `training_config/v0.12` or `settings`; raises `KeyError`."""
    if name not in schema_names():
        raise KeyError(name)
    schema: dict[str, Any] = read_json(name)
    return schema


def _is_schema(path: str) -> bool:
    """Return whether a file declares a JSON Schema dialect; catalogs and tables do not."""
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    return isinstance(content, dict) and "json-schema.org" in str(content.get("$schema", ""))
