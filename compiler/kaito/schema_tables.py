"""A quick answer to whether a training config is valid: "valid", or "ask" the JSON Schema.

A clean file must not pay for importing jsonschema, so the tables know the usual forms of each value. What they do not
know they leave to `kaitoc.compiler.kaito.schema_judge.schema_errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from kaitoc.compiler.kaito.argument_table import ArgType, Argument, canonical_release, release_arguments

_Check = Callable[[object], bool]


def sections_valid(document: object, release: str) -> bool:
    """Return whether an inner document is surely valid; False means "ask the schema".

    `document` is the whole `training_config.yaml` as `yaml.safe_load` reads it. Raises `KeyError` for an unknown
    release.
    """
    table = _table(canonical_release(release))
    sections = document.get("training_config") if type(document) is dict else None
    if type(sections) is not dict:
        return False
    return all(
        name in table and type(options) is dict and _options_valid(name, options, table[name])
        for name, options in sections.items()
    )


def _options_valid(section: str, options: dict[object, object], checks: dict[str, _Check]) -> bool:
    if section == "QuantizationConfig" and options.get("load_in_4bit") is True and options.get("load_in_8bit") is True:
        return False
    for key, value in options.items():
        check = checks.get(key) if type(key) is str else None
        if check is None or not check(value):
            return False
    return True


@cache
def _table(release: str) -> dict[str, dict[str, _Check]]:
    arguments = release_arguments(release)
    return {
        name: {key: _check(argument, arguments.dtypes) for key, argument in section.arguments.items()}
        for name, section in arguments.sections.items()
    }


def _check(argument: Argument, dtypes: frozenset[str]) -> _Check:
    if argument.name == "torch_dtype":
        return _is_one_of(dtypes)
    if argument.name == "output_dir":
        return _is_plain_string
    scalar = _scalar_check(argument)
    if argument.nargs != "+":
        return scalar
    return lambda value: scalar(value) or (type(value) is list and bool(value) and all(map(scalar, value)))


def _scalar_check(argument: Argument) -> _Check:
    if argument.choices:
        return _is_one_of(frozenset(argument.choices))
    if argument.is_json:
        return _is_plain_string_without_json
    return _SCALARS.get(argument.type, _is_never)


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_real(value: object) -> bool:
    return type(value) is int or (type(value) is float and value >= 0)


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_plain_string(value: object) -> bool:
    return type(value) is str and not value.startswith("-")


def _is_plain_string_without_json(value: object) -> bool:
    return type(value) is str and not value.startswith(("-", "{"))


def _is_one_of(names: frozenset[str]) -> _Check:
    return lambda value: type(value) is str and value in names


def _is_never(_value: object) -> bool:
    return False


_SCALARS: dict[ArgType, _Check] = {
    ArgType.INT: _is_whole,
    ArgType.FLOAT: _is_real,
    ArgType.BOOL: _is_flag,
    ArgType.STR: _is_plain_string,
    ArgType.TUPLE: _is_plain_string,
}
