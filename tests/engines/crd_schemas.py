"""CRDs as JSON Schemas that refuse what a strict API server refuses, and their CEL rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

TABLE = json.loads((Path(__file__).parent / "crds" / "crds.json").read_text())
VERSIONS = sorted(TABLE["schemas"])


def versions_of(kind: str) -> list[str]:
    """Return the recorded CRDs of a kind, as `trainer-v2.0.1/TrainJob`."""
    return [version for version in VERSIONS if version.endswith(f"/{kind}")]


@cache
def validator(version: str) -> jsonschema.Draft202012Validator:
    definitions = {name: _strict(schema, is_root=False) for name, schema in TABLE["definitions"].items()}
    return jsonschema.Draft202012Validator(
        {**_strict(TABLE["schemas"][version], is_root=True), "definitions": definitions}
    )


def faults(version: str, content: dict[str, Any]) -> list[str]:
    """Return what an API server with a CRD refuses in an object, by its schema."""
    return [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator(version).iter_errors(content)
    ]


def rules(version: str, content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the CEL rules that apply to an object, each with the part that it judges."""
    yield from _rules(TABLE["schemas"][version], content)


def _rules(schema: Any, value: Any) -> Iterator[tuple[str, Any]]:
    while "$ref" in schema:
        schema = TABLE["definitions"][schema["$ref"].rpartition("/")[2]]
    yield from ((rule, value) for rule in schema.get("rules", ()))
    if isinstance(value, dict):
        for key, child in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(below, dict):
                yield from _rules(below, child)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for child in value:
            yield from _rules(schema["items"], child)


def _strict(schema: dict[str, Any], *, is_root: bool) -> dict[str, Any]:
    strict = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "rules"}
    if "properties" in strict:
        strict["properties"] = {key: _strict(value, is_root=False) for key, value in strict["properties"].items()}
        is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not is_open:
            strict["additionalProperties"] = False
        if is_root:
            strict["properties"]["metadata"] = {"type": "object"}
    for key in ("items", "additionalProperties"):
        if isinstance(strict.get(key), dict):
            strict[key] = _strict(strict[key], is_root=False)
    if schema.get("x-kubernetes-int-or-string"):
        strict["type"] = ["integer", "string"]
    return strict
