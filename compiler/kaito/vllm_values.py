"""The values that vLLM's argparse types make of a word.

Sources: `vllm/engine/arg_utils.py` and `vllm/utils/argparse_utils.py` of the releases' wheels.
"""

from __future__ import annotations

import json
import re

from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.kaito.vllm_compilation_config import compilation_fault
from kaitoc.compiler.kaito.vllm_options import ServingOption, ServingTable
from kaitoc.compiler.kaito.vllm_value_shapes import ShapeFault, fault_of

_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": GIB, "T": 1024 * GIB}
_MOST_DIGITS = 4000

EXPECTATIONS = {
    "int": "a whole number",
    "float": "a number",
    "size": "a whole number, with or without a suffix such as k (1,000) or K (1,024)",
    "size-or-auto": "a whole number, with or without a suffix such as k (1,000) or K (1,024), or `auto`",
    "json": "JSON text in single quotes",
    "object": "JSON text of a mapping in single quotes",
    "lora-modules": "NAME=PATH, or JSON text of a mapping with `name` and `path`",
}


class ServingValueError(ValueError):
    """A word that an option refuses; `str(error)` says what it takes instead."""


def read_word(table: ServingTable, option: ServingOption, word: str) -> object:
    """Convert a word to the value of an option; raises `ServingValueError`."""
    if option.is_optional and word in ("", "None") and option.kind != "json-or-text":
        value: object = None
    else:
        value = _read(table, option, word)
    # argparse compares the value with the choices: None is none of them, though vLLM lists it as text.
    if option.choices and (value is None or str(value) not in option.choices):
        raise ServingValueError(f"one of {', '.join(one for one in option.choices if one != 'None')}")
    return value


def _read(table: ServingTable, option: ServingOption, word: str) -> object:
    kind = option.kind
    try:
        if kind == "int":
            return int(word) if len(word) < _MOST_DIGITS else _refuse(kind)
        if kind == "float":
            return float(word)
        if kind in ("size", "size-or-auto"):
            return _size(table, word, may_be_auto=kind == "size-or-auto")
        if kind == "json":
            return json.loads(word)
        if kind == "json-or-text":
            return _json_or_text(word)
    except (ValueError, RecursionError):
        return _refuse(kind)
    if kind == "object":
        return _object(table, option, word)
    if kind == "word":
        return word.lower().replace("-", "_")
    return _lora_modules(word) if kind == "lora-modules" else word


def _refuse(kind: str) -> object:
    raise ServingValueError(EXPECTATIONS.get(kind, "JSON text"))


def _size(table: ServingTable, word: str, *, may_be_auto: bool) -> int:
    text = word.strip()
    if may_be_auto and (text == "-1" or text.lower() == "auto"):
        return -1
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT])", text)
    if found is None or (found[2] in "tT" and not table.content.get("has_tera", True)):
        return int(text)
    number, suffix = found.groups()
    return int(float(number) * _DECIMAL[suffix]) if suffix in _DECIMAL else int(number) * _BINARY[suffix]


def size_of_text(text: str) -> int | None:
    """Return the number that a text such as 80g stands for, None where it stands for none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT])", text.strip())
    if found is None:
        return None
    number, suffix = found.groups()
    if suffix in _DECIMAL:
        return int(float(number) * _DECIMAL[suffix])
    return int(number) * _BINARY[suffix] if number.isdigit() else None


def _json_or_text(word: str) -> object:
    if not re.match(r"(?s)^\s*{.*}\s*$", word):
        return word
    return json.loads(word)


def _object(table: ServingTable, option: ServingOption, word: str) -> object:
    if table.content.get("expands_sizes"):
        word = _expanded(word)
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        return _refuse("object")
    shape = table.shape(option.name)
    fault = fault_of(value, shape) if shape is not None else None
    if isinstance(fault, ShapeFault):
        raise ServingValueError(fault.message)
    refused = compilation_fault(value) if option.name == "compilation-config" and isinstance(value, dict) else ""
    if refused:
        raise ServingValueError(refused)
    return value


def _expanded(text: str) -> str:
    """Return JSON text with sizes such as 80g as numbers, outside its strings."""
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b", _number_of, parts[index])
    return "".join(parts)


def _number_of(found: re.Match[str]) -> str:
    number, suffix = found[0][:-1], found[0][-1]
    if suffix in _DECIMAL:
        return str(int(float(number) * _DECIMAL[suffix]))
    try:
        return str(int(number) * _BINARY[suffix])
    except ValueError:
        raise ServingValueError(f"whole numbers before {suffix}") from None


def _lora_modules(word: str) -> object:
    """Return an adapter's name and path, as `LoRAParserAction` reads them."""
    if "=" in word and "," not in word:
        parts = word.split("=")
        if len(parts) != 2:
            return _refuse("lora-modules")
        return {"name": parts[0], "path": parts[1]}
    try:
        value = json.loads(word)
    except ValueError:
        return _refuse("lora-modules")
    known = {"name", "path", "base_model_name", "is_3d_lora_weight"}
    if not isinstance(value, dict) or not {"name", "path"} <= value.keys() or not value.keys() <= known:
        return _refuse("lora-modules")
    return value
