"""A quick answer to whether an object has its schema's shape: "surely", or "ask the JSON Schema".

A clean file must not pay for importing jsonschema. Before either looks, nulls are what the API server makes of them:
in a custom resource a null field is absent, in a built-in type it is the type's zero value.
"""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.manifest.formats import has_form
from kaitoc.compiler.manifest.object_schemas import Schema, object_schema

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
_ZEROS: dict[str, Any] = {"string": "", "boolean": False, "integer": 0, "object": {}, "array": []}
_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}
_KNOWN = frozenset((
    "type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "maximum", "propertyNames",
    "format",
    "default", "maxProperties", "x-since", "x-typed", "x-one-of", "x-max-bytes", "x-max-data-bytes", "x-disjoint",
    "x-kube-finalizers", "x-not-both", "x-one-controller", "x-non-empty", "x-generated-name", "not",
))  # fmt: skip
_OF_MAPPINGS = frozenset((
    "maxProperties", "x-one-of", "x-non-empty", "not", "x-max-bytes", "x-kube-finalizers", "x-disjoint",
    "x-generated-name",
))  # fmt: skip
"""Keywords of few objects that concern a mapping as a whole, most of them our own."""
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


class Shape:
    """A schema made ready to be asked of many values; the shapes of its fields are made when a value has them."""

    __slots__ = (
        "_fields", "_has_keywords", "_is_known", "_is_open", "_items", "_name_form", "_others", "_properties",
        "_required", "_wanted", "schema",
    )  # fmt: skip

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._is_open = not schema or "x-kubernetes-preserve-unknown-fields" in schema
        self._is_known = _KNOWN.issuperset(schema)
        self._wanted = schema.get("type")
        self._properties: dict[str, Schema] = schema.get("properties", {})
        self._fields: dict[str, Shape] = {}
        others = schema.get("additionalProperties")
        self._others = Shape(others) if isinstance(others, dict) else None
        self._name_form = schema.get("propertyNames", {}).get("format")
        self._required = frozenset(schema.get("required", ()))
        self._has_keywords = not _OF_MAPPINGS.isdisjoint(schema)
        self._items = Shape(schema["items"]) if schema.get("items") else None

    def fits(self, value: Any) -> bool:
        """Return whether a value certainly fits; False of a normalized one means "ask the JSON Schema".

        A value that fits has no null that normalizing it would change.
        """
        if self._is_open:
            return True
        if not self._is_known or value is None:
            return False
        kind = _TYPES.get(type(value))
        if self._wanted is not None and kind != self._wanted:
            return False
        if kind == "string":
            return self._fits_text(value)
        if kind == "object":
            return self._fits_mapping(value)
        if kind == "array":
            return self._fits_list(value)
        if kind == "integer":
            least, most = self.schema.get("minimum", MIN_INTEGER), self.schema.get("maximum", MAX_INTEGER)
            return bool(max(least, MIN_INTEGER) <= value <= most)
        return True

    def _fits_text(self, value: str) -> bool:
        schema = self.schema
        if "format" in schema and not has_form(value, schema["format"]):
            return False
        return "enum" not in schema or value in schema["enum"]

    def _fits_list(self, value: list[Any]) -> bool:
        if "x-one-controller" in self.schema and len(value) > 1:
            return False
        if "x-not-both" in self.schema and any(name in value for name in self.schema["x-not-both"]):
            return False
        items = self._items
        return items is None or all(items.fits(item) for item in value)

    def _fits_mapping(self, value: dict[str, Any]) -> bool:
        fields = self._fields
        for name, inner in value.items():
            field = fields.get(name) or self._field(name)
            if field is None or not field.fits(inner):
                return False
        if not value.keys() >= self._required:
            return False
        return not self._has_keywords or _keeps_keywords(value, self.schema)

    def _field(self, name: str) -> Shape | None:
        """Return the shape of a field that no value had before, None where there can be no such field."""
        schema = self._properties.get(name)
        if schema is not None:
            field = self._fields[name] = Shape(schema)
            return field
        is_named_well = self._name_form is None or has_form(name, self._name_form)
        return self._others if is_named_well else None


@lru_cache(maxsize=16)
def object_shape(api_version: str, kind: str, release: str) -> Shape | None:
    """Return the shape of a kind in a Kaito release, None for a kind that is not judged; raises `SchemaError`."""
    schema = object_schema(api_version, kind, release)
    return Shape(schema) if schema is not None else None


def _keeps_keywords(value: dict[str, Any], schema: Schema) -> bool:
    """Return whether what rarer keywords ask for surely holds."""
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        return False
    if "x-one-of" in schema and not any(value.get(name) for name in schema["x-one-of"]):
        return False
    if "x-generated-name" in schema and not value.get("name"):
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
