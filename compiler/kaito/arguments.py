"""A model of how Kaito's tuning image parses a section of its training config.

Kaito flattens a section to command-line strings, hands them to transformers' `HfArgumentParser`, and so to argparse
(presets/workspace/tuning/text-generation/parser.py). The model follows argparse's `consume_optional` (CPython 3.11;
3.12 and 3.13 give the same verdicts) but goes on after a fault, so that every faulty entry is told at once.

It ends where the parser ends: what a section's class then checks across keys, or Kaito's rescue of `mlm: true` (a
second parse with false, for want of a mask token), is not part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache

from kaitoc.compiler.core.memo import PlainKey
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.kaito.argument_table import (
    ArgType,
    Argument,
    ParsedValue,
    ReleaseArguments,
    SectionArguments,
    release_arguments,
)
from kaitoc.compiler.kaito.argument_tokens import Reading, Token, flatten, option_of, read_token
from kaitoc.compiler.kaito.argument_values import ArgValueError, expectation, read_text, with_converted_texts


class ArgProblemKind(str, Enum):
    """What is wrong, or merely odd, about one entry of a section."""

    UNKNOWN_KEY = "unknown key"
    AMBIGUOUS_KEY = "ambiguous key"
    ABBREVIATED_KEY = "abbreviated key"
    HYPHENATED_KEY = "hyphenated key"
    NEGATED_FLAG = "negated flag"
    HELP_KEY = "help key"
    WRONG_TYPE = "wrong type"
    INVALID_CHOICE = "invalid choice"
    INVALID_JSON = "invalid JSON"
    NULL_VALUE = "null value"
    EMPTY_LIST = "empty list"
    EMPTY_MAPPING = "empty mapping"
    NESTED_MAPPING = "nested mapping"
    LIST_FOR_SCALAR = "list for scalar"
    DASH_LEADING = "dash-leading string"
    UNREADABLE_ARGUMENT = "unreadable argument"
    OVERRIDDEN = "overridden"


@dataclass(frozen=True, slots=True)
class ArgProblem:
    """A fault or oddity of one entry.

    `key` is the argument's canonical name, empty when none is meant; `written` the option as it was spelled (for a
    nested mapping, the joined name). `expectation` says in words what the key takes. `suggestion` is what to write
    instead: a key; for a nested mapping the key that takes it as JSON text. `is_fatal` says that the release refuses
    the entry. `home_section` is the section that an unknown key belongs to.
    """

    kind: ArgProblemKind
    entry_index: int
    key: str
    written: str
    expectation: str = ""
    suggestion: str = ""
    is_fatal: bool = True
    home_section: str = ""


@dataclass(frozen=True, slots=True)
class SectionParse:
    """What Kaito's parser makes of one section."""

    section: str
    values: Mapping[str, ParsedValue]
    problems: tuple[ArgProblem, ...]

    @property
    def is_accepted(self) -> bool:
        """Return whether the release parses the section."""
        return not any(problem.is_fatal for problem in self.problems)


def parse_section(section: str, entries: Sequence[tuple[str, object]], release: str) -> SectionParse:
    """Parse a section's entries as a Kaito release does, each a key and its value as `yaml.safe_load` reads it.

    Raises `KeyError` for a section or release that has no table.
    """
    key = PlainKey(entries)
    return (_parse_once if key.num_characters <= _REMEMBERED_CHARACTERS else _parse)(section, release, key)


_REMEMBERED_CHARACTERS = 10_000
"""Longer entries are not remembered; a section of Kaito's own has a few hundred characters. Many manifests share whole
sections."""


def _parse(section: str, release: str, key: PlainKey[Sequence[tuple[str, object]]]) -> SectionParse:
    entries = key.value
    arguments = release_arguments(release)
    run = _ArgumentParser(arguments, arguments.sections[section], list(flatten(entries)))
    run.consume()
    run.finish()
    run.note_empty_mappings(entries)
    return SectionParse(section, run.resolved(), tuple(sorted(run.problems, key=lambda found: found.entry_index)))


_parse_once = lru_cache(maxsize=1024)(_parse)


@dataclass(slots=True)
class _ArgumentParser:
    """The state of one parse: how far the strings are consumed, and what came of them."""

    release: ReleaseArguments
    section: SectionArguments
    tokens: list[Token]
    given: dict[str, ParsedValue] = field(default_factory=dict)
    givers: dict[str, Token] = field(default_factory=dict)
    problems: list[ArgProblem] = field(default_factory=list)

    def consume(self) -> None:
        """Read all strings, option by option."""
        readings = self._readings()
        start = 0
        while start < len(self.tokens):
            end = start + 1
            while end < len(self.tokens) and readings[end].is_value:
                end += 1
            self._consume_option(self.tokens[start], readings[start], self.tokens[start + 1 : end])
            start = end

    def resolved(self) -> dict[str, ParsedValue]:
        """Return the value of every argument, defaults included."""
        values = {**self.section.defaults, **self.given}
        _settle_precision(values)
        return values

    def note_empty_mappings(self, entries: Sequence[tuple[str, object]]) -> None:
        """Note the entries that flattening drops without a trace."""
        present = {token.entry_index for token in self.tokens}
        for index, (key, value) in enumerate(entries):
            if isinstance(value, dict) and index not in present:
                self.problems.append(ArgProblem(ArgProblemKind.EMPTY_MAPPING, index, key, key, is_fatal=False))

    def _readings(self) -> list[Reading]:
        """Classify each string as argparse does; after a bare `--` everything is a value."""
        readings: list[Reading] = []
        is_ended = False
        for token in self.tokens:
            reading = Reading(True) if is_ended else read_token(token.text, self.section)
            is_ended = is_ended or token.text == "--"
            readings.append(reading)
        return readings

    def _consume_option(self, token: Token, reading: Reading, values: list[Token]) -> None:
        if not token.is_key:
            is_fatal = len(reading.matches) != 1
            self._add(ArgProblemKind.DASH_LEADING, token, "", is_fatal=is_fatal)
            if is_fatal:
                return
        if not reading.matches:
            self._refuse_unknown(token)
        elif len(reading.matches) > 1:
            self._refuse_ambiguous(token, reading)
        else:
            self._consume_known(token, reading, values)

    def _consume_known(self, token: Token, reading: Reading, values: list[Token]) -> None:
        option = option_of(self.section, reading.matches)
        if option.argument is None:
            self._add(ArgProblemKind.HELP_KEY, token, "")
            return
        self._note_spelling(token, reading, option.argument)
        if option.is_negation:
            self._consume_negation(token, reading, option.argument, values)
        else:
            self._consume_values(token, reading, option.argument, values)
            self._note_nesting(token, option.argument)

    def _consume_negation(self, token: Token, reading: Reading, argument: Argument, values: list[Token]) -> None:
        is_fatal = bool(values) or reading.explicit is not None
        self._add(ArgProblemKind.NEGATED_FLAG, token, argument.name, suggestion=argument.name, is_fatal=is_fatal)
        self._give(token, argument, None if is_fatal else False)

    def _consume_values(self, token: Token, reading: Reading, argument: Argument, values: list[Token]) -> None:
        """Give an option its strings: one text behind `=`, else as many of those that follow as `nargs` takes."""
        if reading.explicit is not None:
            taken = [Token(reading.explicit, token.entry_index, False, reading.explicit)]
            left = values
        else:
            count = len(values) if argument.nargs == "+" else min(len(values), 1)
            taken, left = values[:count], values[count:]
        if not taken and argument.nargs != "?":
            self._refuse_absent(token, argument)
        elif left:
            kind = ArgProblemKind.LIST_FOR_SCALAR if isinstance(token.source, list) else ArgProblemKind.UNKNOWN_KEY
            self._add(kind, token, argument.name, expectation(argument))
            self._give(token, argument, None)
        else:
            self._give(token, argument, self._read_all(token, argument, taken))

    def _refuse_absent(self, token: Token, argument: Argument) -> None:
        """Say why an option got no string: its list is empty, or its text begins with a dash."""
        is_empty = isinstance(token.source, list) and not token.source
        kind = ArgProblemKind.EMPTY_LIST if is_empty else ArgProblemKind.DASH_LEADING
        self._add(kind, token, argument.name, expectation(argument))
        self._give(token, argument, None)

    def _read_all(self, token: Token, argument: Argument, taken: list[Token]) -> object:
        if not taken:
            return argument.const
        read = [self._read(token, argument, word) for word in taken]
        return read if argument.nargs == "+" else read[0]

    def _read(self, token: Token, argument: Argument, word: Token) -> object:
        try:
            value = read_text(argument, word.text)
        except ArgValueError:
            self._add(_refusal(argument, word), token, argument.name, expectation(argument))
            return None
        if word.source is None:
            self._add(ArgProblemKind.NULL_VALUE, token, argument.name, expectation(argument), is_fatal=False)
        return value

    def finish(self) -> None:
        """Do what the section's class does with the values, once all are parsed and the last of each has won."""
        for name, values in self.given.items():
            argument, token = self.section.arguments[name], self.givers[name]
            if argument.is_json and isinstance(values.value, str) and values.value.startswith("{"):
                self.given[name] = ParsedValue(self._read_json(token, argument, values.value), values.entry_index)
            elif name == "torch_dtype" and values.value and values.value not in self.release.dtypes:
                expected = "the name of a torch dtype, such as bfloat16"
                self._add(ArgProblemKind.INVALID_CHOICE, token, name, expected)
                self.given[name] = ParsedValue(None, values.entry_index)

    def _read_json(self, token: Token, argument: Argument, text: str) -> object:
        try:
            return with_converted_texts(json.loads(text))
        except (ValueError, RecursionError):
            self._add(ArgProblemKind.INVALID_JSON, token, argument.name, expectation(argument))
            return None

    def _note_spelling(self, token: Token, reading: Reading, argument: Argument) -> None:
        matched = reading.matches[0].removeprefix("--")
        if token.text.partition("=")[0] != reading.matches[0]:
            self._add(ArgProblemKind.ABBREVIATED_KEY, token, argument.name, suggestion=argument.name, is_fatal=False)
        elif "-" in matched:
            self._add(ArgProblemKind.HYPHENATED_KEY, token, argument.name, suggestion=argument.name, is_fatal=False)

    def _note_nesting(self, token: Token, argument: Argument) -> None:
        if token.depth:
            self._add(ArgProblemKind.NESTED_MAPPING, token, argument.name, suggestion=argument.name, is_fatal=False)

    def _refuse_ambiguous(self, token: Token, reading: Reading) -> None:
        from kaitoc.compiler.kaito.suggest import renamed_key

        renamed = renamed_key(self.section, token.text.removeprefix("--"))
        meant = renamed or ", ".join(_keys(self.section, reading.matches))
        self._add(ArgProblemKind.AMBIGUOUS_KEY, token, "", suggestion=meant)

    def _refuse_unknown(self, token: Token) -> None:
        from kaitoc.compiler.kaito.suggest import home_section, key_suggestion, nested_suggestion

        written = token.text.removeprefix("--")
        if token.depth:
            self._add(ArgProblemKind.NESTED_MAPPING, token, "", suggestion=nested_suggestion(self.section, written))
            return
        home = home_section(self.release, self.section.name, written)
        meant = "" if home else key_suggestion(self.section, written)
        kind = ArgProblemKind.UNKNOWN_KEY
        self.problems.append(ArgProblem(kind, token.entry_index, "", written, suggestion=meant, home_section=home))

    def _give(self, token: Token, argument: Argument, value: object) -> None:
        earlier = self.given.get(argument.name)
        if earlier is not None and earlier.entry_index is not None and earlier.entry_index != token.entry_index:
            overridden = ArgProblem(
                ArgProblemKind.OVERRIDDEN, earlier.entry_index, argument.name, argument.name, is_fatal=False
            )
            self.problems.append(overridden)
        self.given[argument.name] = ParsedValue(value, token.entry_index)
        self.givers[argument.name] = token

    def _add(
        self,
        kind: ArgProblemKind,
        token: Token,
        key: str,
        expected: str = "",
        suggestion: str = "",
        is_fatal: bool = True,
    ) -> None:
        written = token.text.removeprefix("--")
        self.problems.append(ArgProblem(kind, token.entry_index, key, written, expected, suggestion, is_fatal))


def _refusal(argument: Argument, word: Token) -> ArgProblemKind:
    if argument.type in (ArgType.NEVER, ArgType.MAPPING):
        return ArgProblemKind.UNREADABLE_ARGUMENT
    if word.source is None:
        return ArgProblemKind.NULL_VALUE
    return ArgProblemKind.INVALID_CHOICE if argument.type is ArgType.CHOICE else ArgProblemKind.WRONG_TYPE


def _keys(section: SectionArguments, options: tuple[str, ...]) -> list[str]:
    """Return the keys that ambiguous options stand for, each once."""
    arguments = (section.options[option].argument for option in options)
    return list(dict.fromkeys(argument.name for argument in arguments if argument is not None))


def _settle_precision(values: dict[str, ParsedValue]) -> None:
    """Turn bf16 off where only `fp16` is asked for, as SFTConfig's `__post_init__` does (trl 1.0 and later)."""
    bf16, fp16 = values.get("bf16"), values.get("fp16")
    if bf16 is None or fp16 is None or bf16.entry_index is not None:
        return
    if bf16.value is True and fp16.value is True:
        values["bf16"] = ParsedValue(False)
