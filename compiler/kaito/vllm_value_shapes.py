"""Whether a JSON value fits the class that an option fills, as that class was asked (`schemas/generate`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaitoc.compiler.core.records import dataclass

_Shape = Mapping[str, Any]
_LOW = ("zero", "negative")
_FALSE_WORDS = frozenset(("false", "no", "off", "f", "n", "0"))
_BOOLEAN_WORDS = _FALSE_WORDS | {"true", "yes", "on", "t", "y", "1"}


@dataclass(frozen=True, slots=True)
class ShapeFault:
    """What a class refuses: where in the value, and what it takes there."""

    path: tuple[str, ...]
    message: str


def fault_of(value: object, shape: _Shape, path: tuple[str, ...] = ()) -> ShapeFault | None:
    """Return the first fault of a value for a class, None where there is none."""
    if not isinstance(value, dict):
        return _fault(path, "a mapping")
    fields = shape["fields"]
    for first, second in shape.get("conflicts", ()):
        if value.get(first) is not None and value.get(second) is not None:
            return ShapeFault((*path, second), f"only one of `{first}` and `{second}`")
    for name, inner in value.items():
        field = fields.get(name)
        if field is None and not shape["is_open"]:
            return ShapeFault((*path, name), f"no key `{name}`: the keys are {', '.join(fields)}")
        if field is None:
            continue
        fault = _field_fault(inner, field, (*path, name))
        if fault is None:
            continue
        companies = [one for one in field.get("beside", ()) if _fits_beside(inner, one, field, (*path, name))]
        if not any(_is_company(value.get(one["key"]), one) for one in companies):
            return ShapeFault(fault.path, _company(name, companies)) if companies else fault
    return None


def as_read(value: object, shape: _Shape) -> object:
    """Return a value with the numbers that a class reads from text, where its field takes no text."""
    if not isinstance(value, dict):
        return value
    fields = shape["fields"]
    return {name: _field_as_read(inner, fields[name]) if name in fields else inner for name, inner in value.items()}


def _field_as_read(value: object, field: _Shape) -> object:
    if "fields" in field and isinstance(value, dict):
        return as_read(value, field)
    accepts = field.get("accepts", ())
    if not isinstance(value, str) or "digits" not in accepts or "text" in accepts or not _is_number(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _fits_beside(value: object, company: _Shape, field: _Shape, path: tuple[str, ...]) -> bool:
    """Return whether a field takes a value next to another key's value."""
    return _field_fault(value, {**field, "accepts": company["accepts"], "words": company["words"]}, path) is None


def _is_company(value: object, company: _Shape) -> bool:
    return value in company["values"] or _kind_of(value, company["kinds"]) in company["kinds"]


def _company(name: str, companies: list[_Shape]) -> str:
    key = companies[0]["key"]
    values = [str(value) for one in companies if one["key"] == key for value in one["values"]]
    return f"`{key}`{' ' if values else ''}{' or '.join(values)} beside `{name}`"


def _fault(path: tuple[str, ...], expected: str) -> ShapeFault:
    where = f" for `{'.'.join(path)}`" if path else ""
    return ShapeFault(path, f"{expected}{where}")


def _field_fault(value: object, field: _Shape, path: tuple[str, ...]) -> ShapeFault | None:
    if "accepts" not in field:  # what other keys decide
        return None
    accepts, words = field["accepts"], field.get("words", ())
    if isinstance(value, str) and field.get("any_case") and value.lower() in {word.lower() for word in words}:
        return None
    if (isinstance(value, str) and value in words) or (type(value) is int and value in field.get("numbers", ())):
        return None
    if "fields" in field and isinstance(value, dict):
        return fault_of(value, field, path)
    kind = _kind_of(value, accepts)
    if kind == "digits" and field.get("max") != 1 and not _is_number(value):
        kind = "text"  # a word for true or false, which a number does not take
    if kind == "digits" and _is_number(value) and (below := _kind_of(float(str(value)), accepts)) in _LOW:
        kind = below  # what the text says, which its field may refuse
    if _is_off(value, accepts):
        kind = "zero"
    if kind in accepts or (kind == "negative" and "fraction" in accepts and not _is_bounded(field)):
        return _bound_fault(value, field, path)
    return _fault(path, _expected(field))


def _is_off(value: object, accepts: list[str]) -> bool:
    """Return whether a value stands for the 0 of a number, or for the false of a switch that may not be on."""
    if value is False:
        return "zero" not in accepts if "whole" in accepts else "true" not in accepts
    is_switch = "zero" in accepts and "whole" not in accepts
    return is_switch and isinstance(value, str) and value.lower() in _FALSE_WORDS


def _kind_of(value: object, accepts: list[str]) -> str:
    """Return the sample that a value is like."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true"
    if isinstance(value, (int, float)):
        if not float(value).is_integer():  # nor are infinity and NaN
            return "fraction"
        return "zero" if value == 0 else "negative" if value < 0 else "whole"
    if isinstance(value, str):
        if "text" in accepts:
            return "text"
        is_boolean = "true" in accepts and "fraction" not in accepts and value.lower() in _BOOLEAN_WORDS
        is_number = _is_number(value) and ("fraction" in accepts or float(value).is_integer())
        return "digits" if is_boolean or is_number else "text"
    if isinstance(value, list):
        kinds = [_kind_of_list(element, accepts) for element in value] or ["empty list"]
        return next((kind for kind in kinds if kind not in accepts), kinds[0])
    return "mapping"


def _kind_of_list(element: object, accepts: list[str]) -> str:
    """Return the sample that a list of such elements is like."""
    if element is None:
        return "list of nulls"
    if isinstance(element, (int, float)):
        return "list of numbers" if float(element).is_integer() else "list of fractions"
    if isinstance(element, str):
        return "list of texts" if "list of texts" in accepts or not _is_number(element) else "list of numbers"
    return "list of mappings"


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]  # whatever cannot be a number raises
    except (TypeError, ValueError):
        return False
    return True


def _is_bounded(field: _Shape) -> bool:
    return "min" in field or "above" in field


def _bound_fault(value: object, field: _Shape, path: tuple[str, ...]) -> ShapeFault | None:
    if isinstance(value, str) and field.get("max") == 1 and "fraction" not in field["accepts"]:
        is_boolean = value.lower() in _BOOLEAN_WORDS or "text" in field["accepts"]
        return None if is_boolean else _fault(path, "true or false")
    if isinstance(value, str) and "text" not in field["accepts"] and _is_number(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if "max" in field and value > field["max"]:
        is_boolean = field["max"] == 1 and "true" in field["accepts"]
        return _fault(path, "true or false" if is_boolean else f"at most {field['max']}")
    if "min" in field and value < field["min"]:
        return _fault(path, f"at least {field['min']}")
    return None


def _expected(field: _Shape) -> str:
    if field.get("words"):
        return f"one of {', '.join(field['words'])}"
    if field.get("numbers"):
        return f"one of {', '.join(map(str, field['numbers']))}"
    accepts = field["accepts"]
    nouns = (("text", "text"), ("fraction", "a number"), ("whole", "a whole number"), ("true", "true or false"),
             ("list of texts", "a list"), ("empty list", "a list"), ("mapping", "a mapping"),
             ("null", "null"))  # fmt: skip
    return next((noun for kind, noun in nouns if kind in accepts), "nothing: the key cannot be set")
