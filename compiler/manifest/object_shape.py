"""A quick answer to whether an object has its schema's shape: "surely", or "ask the JSON Schema".

A clean file must not pay for importing jsonschema. Before either looks, nulls are what the API server makes of them:
in a custom resource a null field is absent, in a built-in type it is the type's zero value.
"""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.manifest.formats import has_form
from kaitoc.compiler.manifest.object_schemas import Schema

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
_ZEROS: dict[str, Any] = {"string": "", "boolean": False, "integer": 0, "object": {}, "array": []}
_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}
_KNOWN = frozenset((
    "type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "propertyNames", "format",
    "default", "maxProperties", "x-since", "x-typed", "x-one-of", "x-max-bytes", "x-max-data-bytes", "x-disjoint",
    "x-kube-finalizers", "x-not-both", "x-one-controller", "x-non-empty", "not",
))  # fmt: skip
_MAX_UNCOUNTED = 60_000
"""Texts of fewer characters together need no counting of their bytes."""


def normalized(value: Any, schema: Schema, *, is_typed: bool = False) -> Any:
    """Return a value with its nulls as the API server takes them; an object without metadata has an empty one."""
    is_typed = is_typed or "x-typed" in schema
    if isinstance(value, dict):
        return _normalized_mapping(value, schema, is_typed)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [
            _zero(items) if item is None and is_typed else normalized(item, items, is_typed=is_typed) for item in value
        ]
    return value


def _normalized_mapping(value: dict[str, Any], schema: Schema, is_typed: bool) -> dict[str, Any]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    found: dict[str, Any] = {}
    for name, inner in value.items():
        known = properties.get(name)
        below = known if known is not None else (others if isinstance(others, dict) else None)
        if inner is not None:
            found[name] = normalized(inner, below, is_typed=is_typed) if below else inner
        elif below is None:
            found[name] = None
        elif is_typed and known is None:
            found[name] = _zero(below)
    return found


def _zero(schema: Schema) -> Any:
    return _ZEROS.get(schema.get("type", "string"))


def is_surely_valid(value: Any, schema: Schema) -> bool:
    """Return whether a value certainly fits a schema; False of a normalized one means "ask the JSON Schema".

    A value that fits has no null that normalizing it would change.
    """
    if not schema or "x-kubernetes-preserve-unknown-fields" in schema:
        return True
    if not _KNOWN.issuperset(schema):
        return False
    kind, wanted = _TYPES.get(type(value)), schema.get("type")
    if value is None or (wanted is not None and kind != wanted):
        return False
    if kind == "object":
        return _is_mapping(value, schema)
    if kind == "array":
        return _is_list(value, schema)
    if kind == "string":
        return _is_text(value, schema)
    if kind == "integer":
        return bool(schema.get("minimum", MIN_INTEGER) <= value <= MAX_INTEGER and value >= MIN_INTEGER)
    return True


def _is_text(value: str, schema: Schema) -> bool:
    if "format" in schema and not has_form(value, schema["format"]):
        return False
    return "enum" not in schema or value in schema["enum"]


def _is_list(value: list[Any], schema: Schema) -> bool:
    if "x-one-controller" in schema and len(value) > 1:
        return False
    if "x-not-both" in schema and any(name in value for name in schema["x-not-both"]):
        return False
    items = schema.get("items", {})
    return all(is_surely_valid(item, items) for item in value)


def _is_mapping(value: dict[str, Any], schema: Schema) -> bool:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    form = schema.get("propertyNames", {}).get("format")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        return False
    for name, inner in value.items():
        below = properties.get(name)
        if below is None:
            below = others
            if not isinstance(below, dict) or (form is not None and not has_form(name, form)):
                return False
        if not is_surely_valid(inner, below):
            return False
    if any(name not in value for name in schema.get("required", ())):
        return False
    return _has_own_keywords(value, schema)


def _has_own_keywords(value: dict[str, Any], schema: Schema) -> bool:
    """Return whether what the keywords of our own ask for surely holds."""
    if "x-one-of" in schema and not any(value.get(name) for name in schema["x-one-of"]):
        return False
    if not all(value.get(name) for name in schema.get("x-non-empty", ())):
        return False
    if "not" in schema and value.get("kind") == "Event":
        return False
    if "x-max-bytes" in schema and sum(len(name) + len(text) for name, text in value.items()) > _MAX_UNCOUNTED:
        return False
    if "x-kube-finalizers" in schema and value.get("metadata", {}).get("finalizers"):
        return False
    if "x-disjoint" in schema:
        one, other = (value.get(name) for name in schema["x-disjoint"])
        if other or sum(len(text) for text in (one or {}).values()) > _MAX_UNCOUNTED:
            return False
    return True
