"""What Kaito's argument parsers accept, section by section: the tables under `schemas/training_config/arguments/`.

A table is what `HfArgumentParser` makes of a section's dataclass with the libraries of one Kaito release; see
`schemas/generate/introspect_arguments.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache, lru_cache

from kaitoc.compiler.catalog.errors import CatalogError
from kaitoc.compiler.catalog.releases import BUNDLED, all_releases
from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.records import dataclass
from kaitoc.schemas import read_json


class ArgType(str, Enum):
    """How the parser turns an argument's text into a value.

    `MAPPING` reads the empty string only (`dict(text)`), `TUPLE` makes a tuple of characters, `NEVER` refuses any text.
    """

    INT = "int"
    FLOAT = "float"
    STR = "str"
    BOOL = "bool"
    CHOICE = "choice"
    MAPPING = "mapping"
    TUPLE = "tuple"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Argument:
    """One key of a section.

    `nargs` is argparse's: None for exactly one text, "?" for at most one, "+" for at least one. `default` is what the
    runtime has when the key is omitted. `is_json` marks text that is read as JSON when it begins with `{`.
    """

    name: str
    type: ArgType
    nargs: str | None = None
    choices: tuple[str, ...] = ()
    default: object = None
    const: object = True
    is_json: bool = False
    is_negatable: bool = False
    is_deprecated: bool = False


@dataclass(frozen=True, slots=True)
class OptionString:
    """What an option string such as `--lora_alpha` or `--no_bf16` stands for; the help option has no argument."""

    argument: Argument | None
    is_negation: bool = False


@dataclass(frozen=True, slots=True)
class ParsedValue:
    """An argument's value as the runtime has it; `entry_index` is None when the key is omitted.

    The value is None for an entry that is refused.
    """

    value: object
    entry_index: int | None = None


@dataclass(frozen=True, slots=True)
class SectionArguments:
    """A section's arguments by key, all option strings of its parser, and the values when nothing is given."""

    name: str
    arguments: Mapping[str, Argument]
    options: Mapping[str, OptionString]
    defaults: Mapping[str, ParsedValue]


@dataclass(frozen=True, slots=True)
class ReleaseArguments:
    """The tables of one release; `dtypes` are the names `torch_dtype` may have."""

    release: str
    sections: Mapping[str, SectionArguments]
    dtypes: frozenset[str]


def release_arguments(release: str) -> ReleaseArguments:
    """Return the tables of a Kaito release (`v0.12`, `0.12.1`) or of `bundled`; raises `KeyError` when unknown."""
    return _load(canonical_release(release))


def canonical_release(release: str) -> str:
    """Return a release's name as the tables have it; raises `KeyError` when there is none."""
    name = release if release == BUNDLED else "v" + ".".join(release.removeprefix("v").split(".")[:2])
    if name not in table_names():
        raise KeyError(release)
    return name


@lru_cache(maxsize=1)
def table_names() -> tuple[str, ...]:
    """Return the names of the tables, oldest release first, `bundled` last."""
    return (*(release.name for release in all_releases()), BUNDLED)


@cache
def _load(release: str) -> ReleaseArguments:
    try:
        table = read_json(f"training_config/arguments/{release}")
    except FileNotFoundError:
        raise CatalogError(
            f"schemas/training_config/arguments/{release}.json is missing: what Kaito {release} accepts is not known; "
            "`make schemas` reads it from the release's libraries"
        ) from None
    sections = {name: _section(name, rows) for name, rows in table["sections"].items()}
    return ReleaseArguments(release, sections, frozenset(table["dtypes"]))


def _section(name: str, rows: dict[str, dict[str, Any]]) -> SectionArguments:
    arguments = {key: _argument(key, row) for key, row in rows.items()}
    options = {"--help": OptionString(None), "-h": OptionString(None)}
    for key, argument in arguments.items():
        options[f"--{key}"] = options[f"--{key.replace('_', '-')}"] = OptionString(argument)
        if argument.is_negatable:
            negation = OptionString(argument, is_negation=True)
            options[f"--no_{key}"] = options[f"--no-{key.replace('_', '-')}"] = negation
    defaults = {key: ParsedValue(argument.default) for key, argument in arguments.items()}
    return SectionArguments(name, arguments, options, defaults)


def _argument(key: str, row: dict[str, Any]) -> Argument:
    return Argument(
        key,
        ArgType(row["type"]),
        row.get("nargs"),
        tuple(row.get("choices", ())),
        row.get("settled", row["default"]),
        row.get("const", True),
        row.get("json", False),
        row.get("negatable", False),
        row.get("deprecated", False),
    )
