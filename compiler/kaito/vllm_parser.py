"""A model of how vLLM's parser reads its words, which goes on after a fault so that every faulty pair is told at once.

It follows argparse's `_parse_known_args` (CPython 3.11; 3.12 and 3.13 give the same verdicts on the recorded texts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.kaito.vllm_options import SWITCH, ServingOption, ServingTable
from kaitoc.compiler.kaito.vllm_values import EXPECTATIONS, ServingValueError, read_word
from kaitoc.compiler.kaito.vllm_words import CONTROLLER, Gathered, Word, gather, is_negative_number


class ServingProblemKind(str, Enum):
    """What is wrong with one pair; all of them end the server at its start."""

    UNKNOWN = "unknown option"
    AMBIGUOUS = "ambiguous option"
    HELP = "help"
    VALUE = "refused value"
    NO_VALUE = "no value"
    STRAY = "stray word"
    UNFINISHED = "unfinished dotted argument"


@dataclass(frozen=True, slots=True)
class ServingProblem:
    """A fault of a pair. `option` is the option that is meant, empty when none is; `expected` says what it takes."""

    kind: ServingProblemKind
    index: int
    option: str = ""
    expected: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedValue:
    """The value that an option has in the end, and the pair that set it; `word` is what it was read from."""

    value: object
    index: int
    word: str


@dataclass(frozen=True, slots=True)
class ServingParse:
    """What vLLM's parser makes of the words of a controller and of a config.

    `overridden` has pairs that a later one outdoes, by the one that does; `stray` the pairs whose value nothing takes;
    `options` the option of each pair that names one; `model_tag` is the stray word that ends as a model's name.
    """

    values: Mapping[str, ServedValue]
    problems: tuple[ServingProblem, ...]
    overridden: Mapping[int, int]
    options: Mapping[int, str]
    strings: Mapping[int, str]
    stray: tuple[int, ...]
    model_tag: str = ""

    @property
    def is_accepted(self) -> bool:
        """Return whether the parser accepts everything."""
        return not self.problems


def parse_words(controller: Sequence[Word], words: Sequence[Word], table: ServingTable) -> ServingParse:
    """Parse the controller's arguments and those of a config as a release's vLLM does."""
    run = _Parser(table, gather([*controller, *words], table))
    run.consume()
    return run.result()


@dataclass(slots=True)
class _Parser:
    """The state of one parse."""

    table: ServingTable
    gathered: Gathered
    values: dict[str, ServedValue] = field(default_factory=dict)
    problems: list[ServingProblem] = field(default_factory=list)
    overridden: dict[int, int] = field(default_factory=dict)
    options: dict[int, str] = field(default_factory=dict)
    strings: dict[int, str] = field(default_factory=dict)
    stray: list[Word] = field(default_factory=list)

    def consume(self) -> None:
        """Read every word."""
        words, position = self.gathered.words, 0
        if self.gathered.unfinished is not None:
            self._fault(ServingProblemKind.UNFINISHED, self.gathered.unfinished)
        while position < len(words) and words[position].text != "--":
            position = self._consume_at(words, position)
        # After `--` every word is a value; what the controller wrote there is the fault of whoever wrote the dashes.
        # argparse drops the dashes where it fills the positional argument; a stray word has filled it before them.
        ends = words[position].pair if position < len(words) else CONTROLLER
        rest = words[position:] if self.stray else words[position + 1 :]
        self.stray += [word._replace(pair=ends) if word.pair == CONTROLLER else word for word in rest]

    def _consume_at(self, words: Sequence[Word], position: int) -> int:
        word = words[position]
        string, explicit = self._read(word)
        if string is None:
            self.stray.append(word)
            return position + 1
        option = self.table.named_by(string) if string else None
        if option is None:
            self._unknown(word, string)
            return position + 1 + self._values_after(words, position + 1, most=1 if word.is_key else 0)
        self.options[word.pair] = option.name
        self.strings[word.pair] = string
        if not option.takes_value:
            return self._set_switch(word, option, string, explicit, position)
        return self._set_value(words, word, option, explicit, position)

    def _read(self, word: Word) -> tuple[str | None, str | None]:
        """Return the option string that a word names (empty for one of no option), None for a value; and its text."""
        text = word.text
        if not text.startswith("-"):
            return None, None
        if text in self.table.strings:
            return text, None
        if len(text) == 1 or text == "--":
            return None, None
        name, equals, explicit = text.partition("=")
        if equals and name in self.table.strings:
            return name, explicit
        matches = self._abbreviated(text, name)
        if len(matches) == 1:
            return matches[0], explicit if equals else (text[2:] if not text.startswith("--") else None)
        if matches:
            self._fault(ServingProblemKind.AMBIGUOUS, word.pair, candidates=matches)
            return "", None
        if is_negative_number(text) or " " in text:
            return None, None
        return "", None

    def _abbreviated(self, text: str, name: str) -> tuple[str, ...]:
        if text.startswith("--"):
            return tuple(string for string in self.table.strings if string.startswith(name))
        short = text[:2]
        return tuple(s for s in self.table.strings if s == short or (not s.startswith("--") and s.startswith(text)))

    def _values_after(self, words: Sequence[Word], position: int, most: int) -> int:
        """Count the values that follow an option, as argparse does."""
        count = 0
        while count < most and position + count < len(words) and self._is_value(words[position + count]):
            count += 1
        return count

    def _is_value(self, word: Word) -> bool:
        """Return whether a word can be the value of the option before it, without noting a fault."""
        num_problems = len(self.problems)
        string, _ = self._read(word)
        del self.problems[num_problems:]
        return string is None and word.text != "--"

    def _unknown(self, word: Word, string: str) -> None:
        if string == "" and self.problems and self.problems[-1].index == word.pair:
            return
        kind = ServingProblemKind.HELP if string else ServingProblemKind.UNKNOWN
        self._fault(kind, word.pair)

    def _set_switch(self, word: Word, option: ServingOption, string: str, explicit: str | None, position: int) -> int:
        if explicit is not None:
            self._fault(ServingProblemKind.VALUE, word.pair, option.name, "no value: it is a switch")
            return position + 1
        is_on = not (option.kind == SWITCH and string.startswith("--no-"))
        self._set(option, ServedValue(is_on, word.pair, word.text))
        return position + 1

    def _set_value(
        self, words: Sequence[Word], word: Word, option: ServingOption, explicit: str | None, position: int
    ) -> int:
        if explicit is not None:
            texts, position = [explicit], position + 1
        else:
            most = len(words) if option.nargs == "+" else 1
            count = self._values_after(words, position + 1, most)
            texts = [one.text for one in words[position + 1 : position + 1 + count]]
            position += 1 + count
        if not texts and option.nargs != "?":
            self._fault(ServingProblemKind.NO_VALUE, word.pair, option.name, expected_of(option))
            return position
        try:
            read = [read_word(self.table, option, text) for text in texts]
        except ServingValueError as error:
            self._fault(ServingProblemKind.VALUE, word.pair, option.name, str(error))
            return position
        value: object = read if option.nargs == "+" or option.appends else (read[0] if read else True)
        self._set(option, ServedValue(value, word.pair, " ".join(texts)))
        return position

    def _set(self, option: ServingOption, value: ServedValue) -> None:
        before = self.values.get(option.name)
        if before is not None and before.index != value.index:
            self.overridden[before.index] = value.index
        self.values[option.name] = value

    def _fault(self, kind: ServingProblemKind, index: int, option: str = "", expected: str = "",
               candidates: tuple[str, ...] = ()) -> None:  # fmt: skip
        self.problems.append(ServingProblem(kind, index, option, expected, candidates))

    def result(self) -> ServingParse:
        """Return the result; of several stray words each but the first is refused."""
        stray = self.stray
        for word in stray[1:]:
            self._fault(ServingProblemKind.STRAY, word.pair, self.options.get(word.pair, ""))
        return ServingParse(
            values=self.values,
            problems=tuple(sorted(self.problems, key=lambda problem: problem.index)),
            overridden=self.overridden,
            options=self.options,
            strings=self.strings,
            stray=tuple(word.pair for word in stray),
            model_tag=stray[0].text if stray else "",
        )


def expected_of(option: ServingOption) -> str:
    """Describe the values an option accepts: its choices, else its type."""
    if option.choices:
        return f"one of {', '.join(option.choices)}"
    return EXPECTATIONS.get(option.kind, "a value")
