"""The JSON Schema's verdict on a training config, in words and with the path of every fault.

YAML has values that JSON has not, and a JSON Schema cannot tell 8 from 8.0. So the document is first brought into
JSON's terms, and whole numbers are integers only. jsonschema is imported when the first document is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.kaito.argument_table import canonical_release
from kaitoc.schemas import read_json

_LONGEST_VALUE = 60
_JSON_FORMAT = "kaitoc-json-mapping"


@dataclass(frozen=True, slots=True)
class SchemaError:
    """One fault: its path from the document's root, the schema keyword that it breaks, and what is wrong in words."""

    path: tuple[str | int, ...]
    keyword: str
    message: str


def schema_errors(document: object, release: str) -> list[SchemaError]:
    """Return the faults of an inner document, in the order of their paths; empty when it is valid.

    `document` is the whole `training_config.yaml` as `yaml.safe_load` reads it. Raises `KeyError` for an unknown
    release.
    """
    validator = _validator(canonical_release(release))
    messages = [message for error in validator.iter_errors(json_terms(document)) for message in _told(error)]
    return sorted(messages, key=lambda error: [str(part) for part in error.path])


def json_terms(value: object) -> object:
    """Return a YAML value in JSON's terms: keys, dates and other values that JSON lacks become their Python text."""
    if isinstance(value, dict):
        return {str(key): json_terms(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [json_terms(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


@cache
def _validator(release: str) -> Any:
    from jsonschema import Draft202012Validator, FormatChecker, validators

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer).redefine("number", _is_number)
    formats = FormatChecker(formats=())
    formats.checks(_JSON_FORMAT)(_is_json_mapping)
    extend: Any = validators.extend
    judge = extend(Draft202012Validator, type_checker=checker)
    return judge(read_json(f"training_config/{release}"), format_checker=formats)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_json_mapping(value: object) -> bool:
    """Return whether text that begins as a JSON mapping is one; the trainer's class reads it with `json.loads`."""
    if not isinstance(value, str) or not value.startswith("{"):
        return True
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _told(error: Any) -> Iterator[SchemaError]:
    path = tuple(error.absolute_path)
    keyword = str(error.validator)
    if keyword == "additionalProperties":
        for key in error.instance:
            if key not in error.schema["properties"]:
                yield SchemaError((*path, key), keyword, f"`{key}` is not a key of {_owner(path)}")
    elif keyword == "not" and "load_in_4bit" in error.instance:
        yield SchemaError(path, keyword, "`load_in_4bit` and `load_in_8bit` cannot both be true")
    elif keyword == "anyOf":
        yield SchemaError(path, keyword, f"{_shown(error.instance)} is not {_expected(error)}")
    else:
        yield SchemaError(path, keyword, _plain_message(error))


def _owner(path: tuple[str | int, ...]) -> str:
    return f"`{path[-1]}`" if path else "the document"


def _plain_message(error: Any) -> str:
    if error.validator == "type":
        return f"{_shown(error.instance)} is not of type {error.validator_value}"
    if error.validator == "required":
        return "`training_config` is missing"
    return f"{_shown(error.instance)} is not allowed here"


def _expected(error: Any) -> str:
    """Describe the expected value, from the first description or list of choices among the alternatives."""
    for cause in error.context or ():
        schema = cause.schema
        if "enum" in schema and len(schema["enum"]) < 16:
            return "one of " + ", ".join(schema["enum"])
        if "enum" in schema and "description" not in schema:
            return f"one of the {len(schema['enum'])} values this key takes, such as {schema['enum'][0]}"
        if "description" in schema:
            return str(schema["description"])
        if cause.context:
            return _expected(cause)
    return "a value this key takes"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
