"""Conditions on the value of one option, as `schemas/inference_config/engine.json` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_ANY = "*"


def _is_mapping_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(isinstance(inner, kind) for inner in value.values())


_QUANTIZED = "quantization_config"


_REQUIRED = {
    "fp8": (("activation_scheme",),),
    "awq": (("w_bit", "bits"), ("q_group_size", "group_size"), ("zero_point",)),
    "gptq": (("bits",), ("group_size",), ("desc_act",)),
}
"""What a `quantization_config` must say for a method, each by one of several keys (`from_config` of its class)."""


def _quantized(value: object) -> tuple[str, Mapping[str, object]]:
    """Return the method that overrides name and its keys, an empty one where they name none."""
    config = value.get(_QUANTIZED) if isinstance(value, dict) else None
    return (str(config.get("quant_method")).lower(), config) if isinstance(config, dict) else ("", {})


def _lacks_scheme(value: object) -> bool:
    method, config = _quantized(value)
    return any(not any(key in config for key in keys) for keys in _REQUIRED.get(method, ()))


def _lacks_symmetry(value: object) -> bool:
    method, config = _quantized(value)
    return method == "gptq" and "sym" not in config


def _is_unlike(value: object, quantized: Mapping[str, Any]) -> bool:
    """Return whether overrides name a method with a key, by any of its names, that is not what a condition takes."""
    method, config = _quantized(value)
    if method != quantized["method"]:
        return False
    return any(_named(config, keys) not in taken for keys, taken in quantized["takes"].items())


def _named(config: Mapping[str, object], keys: str) -> object:
    """Return the value of the first of several names of a key that is there."""
    return next((config[key] for key in keys.split("|") if key in config), None)


def _is_limit(limit: object) -> bool:
    """Return whether a limit of items is a number, also as text, or says more of them in a mapping."""
    text = str(limit).strip()
    return isinstance(limit, (dict, bool)) or text.lstrip("+-").isdigit()


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "given": lambda value: value is not None,
    "not empty": lambda value: value is not None and value != {},
    "mapping": lambda value: isinstance(value, dict),
    "mapping of mappings": _is_mapping_of(dict),
    "mapping of texts": _is_mapping_of(str),
    "list with null": lambda value: isinstance(value, list) and None in value,
    "list with negative": lambda value: isinstance(value, list) and any(one is not None and one < 0 for one in value),
    "redundant experts": lambda value: isinstance(value, dict) and bool(value.get("num_redundant_experts")),
    "device numbers": lambda value: all(part.strip().isdigit() for part in str(value).split(",")),
    "repeated": lambda value: len(parts := [part.strip() for part in str(value).split(",")]) != len(set(parts)),
    "quantized without a scheme": _lacks_scheme,
    "gptq without symmetry": _lacks_symmetry,
    "limits": lambda value: isinstance(value, dict) and all(map(_is_limit, value.values())),
    "optimization level": lambda value: str(value) in ("0", "1", "2", "3", "0.0", "1.0", "2.0", "3.0"),
    "dotted name": lambda value: re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", str(value)) is not None,
    "version": lambda value: re.fullmatch(r"v?\d+(\.\d+)*([abc.]?(rc|post|dev)?\d*)?", str(value).strip()) is not None,
}  # fmt: skip


def applies(condition: Mapping[str, Any], value: object, value_of: Callable[[str], object]) -> bool:
    """Return whether a condition refuses a value; `value_of` returns the values of other options.

    A value that a condition's kinds do not concern, such as null for an option that may be null, passes.
    """
    if not _is_concerned(condition, value) or _passes(condition, value):
        return False
    if "above_option" in condition and not _is_above(value, value_of(condition["above_option"])):
        return False
    others = condition.get("unless", {})
    for name, allowed in others.items():
        other = value_of(name)
        if (allowed == [_ANY] and other not in (None, "", {})) or other in allowed:
            return False
    for name, least in condition.get("unless_above", {}).items():
        other = value_of(name)
        if isinstance(other, (int, float)) and other > least:
            return False
    alternatives = condition.get("unless_keys", ())
    return not (isinstance(value, dict) and any(all(map(value.get, keys)) for keys in alternatives))


def _is_concerned(condition: Mapping[str, Any], value: object) -> bool:
    if "has" in condition:
        return isinstance(value, dict) and all(value.get(key) == one for key, one in condition["has"].items())
    if "quantized" in condition:
        return _is_unlike(value, condition["quantized"])
    if "is" in condition:
        return any(value == one and type(value) is type(one) for one in condition["is"])
    if "not_in" in condition:
        return value not in condition["not_in"]
    if "above" in condition:
        return isinstance(value, (int, float)) and value > condition["above"]
    if "below" in condition:
        return isinstance(value, (int, float)) and value < condition["below"]
    return _KINDS[condition["if_kind"]](value) if "if_kind" in condition else value is not None


def _is_above(value: object, other: object) -> bool:
    """Return whether a number is above that of another option, one that is set and not 0."""
    numbers = isinstance(value, (int, float)) and isinstance(other, (int, float))
    return numbers and 0 < other < value  # type: ignore[operator]


def _passes(condition: Mapping[str, Any], value: object) -> bool:
    return "unless_kind" in condition and _KINDS[condition["unless_kind"]](value)
