"""Conditions on the value of one option, as `schemas/inference_config/engine.json` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_ANY = "*"


def _is_mapping_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(isinstance(inner, kind) for inner in value.values())


_ROPE = ("rope_scaling", "rope_parameters")


def _is_bare(config: object) -> bool:
    return isinstance(config, dict) and "num_attention_heads" not in config


def _are_operations(names: object) -> bool:
    """Return whether a list of custom operations is read: each with a sign, but for one of `all` and `none`."""
    listed = names if isinstance(names, list) else []
    return not {"all", "none"} <= set(map(str, listed)) and all(
        str(one) in ("all", "none") or str(one)[:1] in ("+", "-") for one in listed
    )


def _is_untyped(rope: object) -> bool:
    return isinstance(rope, dict) and bool(rope) and not {"rope_type", "type"} & rope.keys()


def _is_limit(limit: object) -> bool:
    """Return whether a limit of items is a number, also as text, or says more of them in a mapping."""
    text = str(limit).strip()
    return isinstance(limit, dict) or (not isinstance(limit, bool) and text.lstrip("+-").isdigit())


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
    "bare text config": lambda value: isinstance(value, dict) and _is_bare(value.get("text_config")),
    "unknown custom op": lambda value: isinstance(value, dict) and not _are_operations(value.get("custom_ops")),
    "untyped rope": lambda value: isinstance(value, dict) and any(map(_is_untyped, map(value.get, _ROPE))),
    "limits": lambda value: isinstance(value, dict) and all(map(_is_limit, value.values())),
    "optimization level": lambda value: str(value) in ("0", "1", "2", "3", "0.0", "1.0", "2.0", "3.0"),
    "dotted name": lambda value: re.fullmatch(r"\w+(\.\w+)+", str(value)) is not None,
    "version": lambda value: re.fullmatch(r"v?\d+(\.\d+)*([abc.]?(rc|post|dev)?\d*)?", str(value).strip()) is not None,
}  # fmt: skip


def applies(condition: Mapping[str, Any], value: object, value_of: Callable[[str], object]) -> bool:
    """Return whether a condition refuses a value; `value_of` returns the values of other options.

    A value that a condition's kinds do not concern, such as null for an option that may be null, passes.
    """
    if not _is_concerned(condition, value) or _passes(condition, value):
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
    key = condition.get("unless_key")
    return not (key and isinstance(value, dict) and value.get(key))


def _is_concerned(condition: Mapping[str, Any], value: object) -> bool:
    if "is" in condition:
        return any(value == one and type(value) is type(one) for one in condition["is"])
    if "not_in" in condition:
        return value not in condition["not_in"]
    if "above" in condition:
        return isinstance(value, (int, float)) and value > condition["above"]
    if "below" in condition:
        return isinstance(value, (int, float)) and value < condition["below"]
    return _KINDS[condition["if_kind"]](value) if "if_kind" in condition else value is not None


def _passes(condition: Mapping[str, Any], value: object) -> bool:
    return "unless_kind" in condition and _KINDS[condition["unless_kind"]](value)
