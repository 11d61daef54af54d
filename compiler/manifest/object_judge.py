"""The JSON Schema's verdict on a Kubernetes object, in words and with the path of every fault.

jsonschema is imported when the first object is judged, which is one that the quick answer has doubts about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.manifest.formats import DESCRIPTIONS, FORMATS, has_form, is_dns_subdomain, is_qualified_name
from kaitoc.compiler.manifest.object_schemas import REINSTALL, Schema, SchemaError
from kaitoc.compiler.manifest.object_shape import MAX_INTEGER, MIN_INTEGER

Path = tuple[str | int, ...]
_MAX_SHOWN = 60
_NOUNS = {"string": "text", "integer": "a whole number", "boolean": "true or false", "array": "a list",
          "object": "a mapping"}  # fmt: skip
_FORMATS_OF_VALUES = frozenset(("int32", "int64"))
"""Formats of numbers, which the API server does not hold a custom resource to."""
_STANDARD_FINALIZERS = frozenset(("kubernetes", "orphan", "foregroundDeletion"))


@dataclass(frozen=True, slots=True)
class ShapeError:
    """One fault of an object: its path from the root, the keyword that it breaks, and what is wrong in words.

    `missing` is the key that is not there; `known` are the keys that may stand where an unknown one does.
    """

    path: Path
    keyword: str
    message: str
    help: str = ""
    missing: str = ""
    known: tuple[str, ...] = ()


def shape_errors(value: object, schema: Schema) -> list[ShapeError]:
    """Return the faults of a normalized object, each once, in the order of their paths; empty when it is valid.

    Raises `SchemaError` for a schema that is none.
    """
    errors = {
        (told.path, told.message): told for error in _validator(schema).iter_errors(value) for told in _told(error)
    }
    return sorted(errors.values(), key=lambda error: [str(part) for part in error.path])


def _validator(schema: Schema) -> Any:
    from jsonschema import SchemaError as NoSchemaError

    known = _validators.get(id(schema))
    if known is None:
        judge = _validator_class()
        try:
            judge.check_schema(schema)
        except NoSchemaError as error:
            raise SchemaError(f"a schema under schemas/kubernetes is broken ({error.message}): {REINSTALL}") from error
        known = _validators[id(schema)] = judge(schema)
    return known


_validators: dict[int, Any] = {}
"""Validators of the few schemas there are, by identity; each holds its schema."""


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, validators  # 60 ms, for an object that has a fault

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
    extend: Any = validators.extend
    return extend(Draft202012Validator, validators={"format": _format, **_OWN_KEYWORDS}, type_checker=checker)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and MIN_INTEGER <= value <= MAX_INTEGER


def _error(message: str, **details: Any) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message, **details)


def _format(_: object, name: str, value: object, __: object) -> Iterator[Any]:
    if name in _FORMATS_OF_VALUES:
        return
    if name not in FORMATS:
        raise SchemaError(f"schemas/kubernetes asks for the unknown format `{name}`: {REINSTALL}")
    if isinstance(value, str) and not has_form(value, name):
        yield _error(name)


def _one_of(_: object, names: list[str], value: object, __: object) -> Iterator[Any]:
    if isinstance(value, dict) and not any(value.get(name) for name in names):
        yield _error(f"{names[0]} is missing")


def _roles(_: object, names: list[str], value: object, __: object) -> Iterator[Any]:
    types = [role.get("type") for role in value if isinstance(role, dict)] if isinstance(value, list) else names
    if any(types.count(name) != 1 for name in names):
        yield _error(f"there must be one role of each type: {' and '.join(names)}")


def _non_empty(_: object, names: list[str], value: object, __: object) -> Iterator[Any]:
    for name in names:
        if isinstance(value, dict) and value.get(name, "") == "":
            yield _error(name)


def _max_bytes(_: object, limit: int, value: object, __: object) -> Iterator[Any]:
    if isinstance(value, dict):
        num_bytes = sum(_num_bytes(name) + _num_bytes(text) for name, text in value.items())
        if num_bytes > limit:
            yield _error(f"the keys and values have {num_bytes:,} bytes in total; the limit is {limit:,}")


def _max_data_bytes(_: object, limit: int, value: object, __: object) -> Iterator[Any]:
    if isinstance(value, dict):
        data, binary = (_mapping(value.get(name)) for name in ("data", "binaryData"))
        num_bytes = sum(map(_num_bytes, data.values())) + sum(map(_num_decoded_bytes, binary.values()))
        if num_bytes > limit:
            yield _error(f"`data` and `binaryData` have {num_bytes:,} bytes in total; the limit is {limit:,} (1 MiB)")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _disjoint(_: object, names: list[str], value: Any, __: object) -> Iterator[Any]:
    one, other = (_mapping(value).get(name) for name in names)
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            if key in other:
                yield _error(f"`{key}` is a key of `{names[0]}` and of `{names[1]}`", path=(names[0], key))


def _one_controller(_: object, __: object, value: object, ___: object) -> Iterator[Any]:
    owners = [owner for owner in value if isinstance(owner, dict)] if isinstance(value, list) else []
    if sum(owner.get("controller") is True for owner in owners) > 1:
        yield _error("two owners have `controller: true`")


def _not_both(_: object, names: list[str], value: object, __: object) -> Iterator[Any]:
    if isinstance(value, list) and all(name in value for name in names):
        yield _error(f"the finalizers {join_names(names)} are mutually exclusive")


def _kube_finalizers(_: object, __: object, value: object, ___: object) -> Iterator[Any]:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    finalizers = metadata.get("finalizers") if isinstance(metadata, dict) else None
    for index, name in enumerate(finalizers if isinstance(finalizers, list) else ()):
        if isinstance(name, str) and is_qualified_name(name) and "/" not in name and name not in _STANDARD_FINALIZERS:
            yield _error(f"`{name}` has no domain, as in example.com/{name}", path=("metadata", "finalizers", index))


def _generated_name(_: object, __: object, value: object, ___: object) -> Iterator[Any]:
    """Yield a `generateName` that is well formed by itself and makes no name (apiserver's `SimpleNameGenerator`)."""
    prefix = value.get("generateName") if isinstance(value, dict) and not value.get("name") else None
    if not isinstance(prefix, str) or not has_form(prefix, "generate-name"):
        return
    if not is_dns_subdomain(prefix[:_MAX_GENERATED_PREFIX] + "x"):
        message = f"`metadata.generateName` is `{prefix}`, and a name that begins so is not a DNS subdomain"
        yield _error(message, path=("generateName",))


_MAX_GENERATED_PREFIX = 58
_OWN_KEYWORDS: dict[str, Callable[..., Iterator[Any]]] = {
    "x-one-of": _one_of,
    "x-generated-name": _generated_name,
    "x-roles": _roles,
    "x-non-empty": _non_empty,
    "x-max-bytes": _max_bytes,
    "x-max-data-bytes": _max_data_bytes,
    "x-disjoint": _disjoint,
    "x-one-controller": _one_controller,
    "x-not-both": _not_both,
    "x-kube-finalizers": _kube_finalizers,
}


def _num_bytes(value: object) -> int:
    return len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0


def _num_decoded_bytes(value: object) -> int:
    """Count the decoded bytes of a base64 text."""
    return len("".join(value.split()).rstrip("=")) * 3 // 4 if isinstance(value, str) else 0


def _told(error: Any) -> Iterator[ShapeError]:
    """Yield the fault of a validation error in words; unknown and missing keys are told one by one."""
    path, keyword, schema = tuple(error.absolute_path), str(error.validator), error.schema
    here = f"`{dotted(path)}`"
    if keyword in ("additionalProperties", "maxProperties"):
        known = tuple(schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                yield ShapeError((*path, key), "unknown", f"there is no field `{dotted((*path, key))}`", known=known)
    elif keyword in ("required", "x-non-empty", "x-one-of"):
        for name in _missing(error, keyword):
            yield ShapeError((*path, name), "required", f"`{dotted((*path, name))}` is missing", missing=name)
    elif "propertyNames" in error.absolute_schema_path:
        noun, advice = DESCRIPTIONS[error.validator_value]
        yield ShapeError((*path, error.instance), keyword, f"`{_shown(error.instance)}` is not {noun}", advice)
    elif keyword == "format":
        noun, advice = DESCRIPTIONS[error.validator_value]
        yield ShapeError(path, keyword, f"{here} is `{_shown(error.instance)}`, which is not {noun}", advice)
    elif keyword == "anyOf":
        yield ShapeError(path, keyword, f"{here} is not base64", DESCRIPTIONS["base64"][1])
    elif keyword == "not":
        yield ShapeError(path, keyword, f"{here} names an Event, which cannot be an owner")
    elif keyword.startswith("x-"):
        yield ShapeError(path, keyword, error.message)
    else:
        yield ShapeError(path, keyword, f"{here} {_plain(error, keyword)}")


def _missing(error: Any, keyword: str) -> list[str]:
    if keyword == "required":
        return [name for name in error.validator_value if name not in error.instance]
    return [error.validator_value[0]] if keyword == "x-one-of" else [error.message]


def _plain(error: Any, keyword: str) -> str:
    """Describe a value and what it must be."""
    value, wanted = error.instance, error.validator_value
    if keyword == "type":
        return f"is {_noun_of(value)}; it must be {_NOUNS.get(wanted, wanted)}"
    if keyword == "enum":
        return f"is `{_shown(value)}`; it must be {' or '.join(map(str, wanted))}"
    if keyword == "minimum":
        return f"is {_shown(value)}; it must be at least {wanted}"
    if keyword == "maximum":
        return f"is {_shown(value)}; it must be at most {wanted:,}"
    return f"is `{_shown(value)}`, which does not fit `{keyword}: {_shown(wanted)}`"


def _noun_of(value: object) -> str:
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {_shown(value)}"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


def dotted(path: Path) -> str:
    """Return a path as kubectl writes it: `tuning.input.urls[0]`, and keys with dots in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int) or "." in part or "/" in part:
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
