"""The values that argparse's types make of strings, in one section of Kaito's training config."""

from __future__ import annotations

from kaitoc.compiler.kaito.argument_table import ArgType, Argument

_TRUE_WORDS = frozenset(("yes", "true", "t", "y", "1"))
_FALSE_WORDS = frozenset(("no", "false", "f", "n", "0"))

_EXPECTED = {
    ArgType.INT: "a whole number without a decimal point, such as 8",
    ArgType.FLOAT: "a number, such as 0.05",
    ArgType.STR: "a string",
    ArgType.BOOL: "true or false",
    ArgType.MAPPING: "nothing: Kaito's parser cannot read a mapping here, so leave the key out",
    ArgType.TUPLE: "nothing useful: Kaito's parser splits the text into characters, so leave the key out",
    ArgType.NEVER: "nothing: Kaito's parser cannot read any value here, so leave the key out",
}


class ArgValueError(ValueError):
    """A text that an argument's type refuses."""


def read_text(argument: Argument, text: str) -> object:
    """Return the value argparse makes of a text; raises `ArgValueError`.

    Booleans are read as `transformers.hf_argparser.string_to_bool` does, choices compare as text.
    """
    try:
        return _read(argument, text)
    except ArgValueError:
        raise
    except ValueError as error:
        raise ArgValueError(text) from error


def _read(argument: Argument, text: str) -> object:
    kind = argument.type
    if kind is ArgType.STR:
        return text
    if kind is ArgType.INT:
        return int(text)
    if kind is ArgType.FLOAT:
        return float(text)
    if kind is ArgType.BOOL:
        return _read_flag(text)
    if kind is ArgType.CHOICE and text in argument.choices:
        return text
    if kind is ArgType.TUPLE:
        return tuple(text)
    if kind is ArgType.MAPPING and not text:
        return {}
    raise ArgValueError(text)


def _read_flag(text: str) -> bool:
    word = text.lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise ArgValueError(text)


def expectation(argument: Argument) -> str:
    """Describe the values an argument accepts, such as `a list of whole numbers`."""
    if argument.choices:
        return "one of " + ", ".join(argument.choices)
    if argument.is_json:
        return "a string that holds a JSON mapping, such as '{\"key\": 1}'"
    if argument.nargs == "+":
        return {ArgType.STR: "a list of strings", ArgType.INT: "a list of whole numbers"}.get(
            argument.type, _EXPECTED[argument.type]
        )
    return _EXPECTED[argument.type]


def with_converted_texts(value: object) -> object:
    """Return a nested argument with texts made truth values and numbers (transformers' `_convert_str_dict`)."""
    if isinstance(value, dict):
        return {key: with_converted_texts(inner) for key, inner in value.items()}
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value.isdecimal():
        return int(value)
    return float(value) if value.replace(".", "", 1).isdecimal() else value
