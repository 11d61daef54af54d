"""Kaito's way from YAML values to command-line strings, and argparse's way from strings to options.

The first is `flatten_config_to_cli_args` of Kaito's tuning image (presets/workspace/tuning/text-generation/parser.py),
the second `ArgumentParser._parse_optional` and `_get_option_tuples` (CPython 3.11).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.kaito.argument_table import OptionString, SectionArguments

_NEGATIVE_NUMBER = pattern(r"^-\d+$|^-\d*\.\d+$")


class Token(NamedTuple):
    """One command-line string; `is_key` tells an option that a key made from a string that a value made.

    `source` is the value that the string was made of. `depth` is how many mappings a key was nested in.
    """

    text: str
    entry_index: int
    is_key: bool
    source: object = None
    depth: int = 0


class Reading(NamedTuple):
    """What argparse takes a token for: a value, or an option that it knows, does not know, or cannot decide on.

    `matches` has the option strings that fit; `explicit` is the text behind an `=` in the token itself.
    """

    is_value: bool
    matches: tuple[str, ...] = ()
    explicit: str | None = None


VALUE = Reading(True)
UNKNOWN_OPTION = Reading(False)


def flatten(entries: Sequence[tuple[str, object]]) -> Iterator[Token]:
    """Yield the command-line strings of a section's entries."""
    for index, (key, value) in enumerate(entries):
        yield from _flatten_entry(f"--{key}", value, index, 0)


def _flatten_entry(option: str, value: object, index: int, depth: int) -> Iterator[Token]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten_entry(f"{option}_{key}", inner, index, depth + 1)
        return
    yield Token(option, index, True, value, depth)
    for item in value if isinstance(value, list) else [value]:
        yield Token(_text(item), index, False, item, depth)


def _text(value: object) -> str:
    """Return `str(value)`, or `--`, which is always refused, for what Python cannot print."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return "--"


def read_token(text: str, section: SectionArguments) -> Reading:
    """Classify a string as argparse does, with the options of a section."""
    if not text.startswith("-"):
        return VALUE
    if text in section.options:
        return Reading(False, (text,))
    if len(text) == 1:
        return VALUE
    name, equals, explicit = text.partition("=")
    if equals and name in section.options:
        return Reading(False, (name,), explicit)
    matches = _abbreviated(text, name, section)
    if matches:
        return Reading(False, matches, explicit if equals else _short_explicit(text))
    if _NEGATIVE_NUMBER.match(text) or " " in text:
        return VALUE
    return UNKNOWN_OPTION


def _abbreviated(text: str, name: str, section: SectionArguments) -> tuple[str, ...]:
    """Return the options that a string begins; `-hello` reads as `-h` with the text `ello`."""
    if text.startswith("--"):
        return tuple(option for option in section.options if option.startswith(name))
    return ("-h",) if text.startswith("-h") else ()


def _short_explicit(text: str) -> str | None:
    return None if text.startswith("--") else text[2:]


def option_of(section: SectionArguments, matches: tuple[str, ...]) -> OptionString:
    """Return the option of a decided reading."""
    return section.options[matches[0]]
