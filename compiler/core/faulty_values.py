"""What pydantic finds wrong with a value, in the words of the other messages."""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.core.annotations import Any

_EXPECTED = {
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected an integer",
    "int_parsing": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected a string",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "string_too_short": "must not be empty",
    "missing": "is missing",
    "extra_forbidden": "unknown key",
}
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}


def describe_fault(fault: Mapping[str, Any]) -> str:
    """Return a fault of `ValidationError.errors()` in words: what was expected, never the value itself."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _LIMITS:
        limit, words = _LIMITS[kind]
        return f"expected a number {words} {context[limit]:.10g}"
    if kind == "literal_error":
        return f"expected {context['expected'].replace(chr(39), '')}"
    message: str = fault["msg"]
    return message.removeprefix("Value error, ")
