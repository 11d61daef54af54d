"""What kubectl makes of YAML: `sigs.k8s.io/yaml`, whose parser is a fork of go-yaml 2, and then JSON.

It differs from PyYAML: `y` and `n` are booleans, `08`, `1e3` and `0o17` are numbers, `1:30` and dates are text, `<<`
counts where it stands among the keys, and JSON knows neither `.nan` nor keys that are null.

Sources: sigs.k8s.io/yaml 1.6 (`yaml.go`, `goyaml.v2/resolve.go`, `goyaml.v2/decode.go`), Go's `strconv` and
`encoding/json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.yaml.tree import MERGE_KEY, Entry, Mapping, Node, ProblemKind, Scalar, Sequence, YamlProblem

_TAG = "tag:yaml.org,2002:"
_RESOLVED_TAGS = frozenset(_TAG + name for name in ("bool", "int", "float", "null", "timestamp"))
_MAX_REMEMBERED = 100
_NUMERIC = frozenset("+-.0123456789")
"""First characters of what may be a number."""
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    "<<": "<<",
}
# Compiled where they are used: together they take as long as a file to check, which has whole numbers only.
_DECIMAL = r"[-+]?(?:0|[1-9][0-9]*)"
_BASED = r"(?P<sign>[-+]?)0(?P<base>[xX][0-9a-fA-F]+|[bB][01]+|[oO]?[0-7]+)"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_TIMESTAMP = (
    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt][0-9]{1,2}(?::[0-9]{1,2}){2}(?:\.[0-9]+)?(?:Z|[-+][0-9]{2}:[0-9]{2}))"
    r"| [0-9]{1,2}(?::[0-9]{1,2}){2}(?:\.[0-9]+)?)?"
)
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_SPLIT_FRACTION = r"\.[0-9]+(?:_[0-9]+)+"
_BASES = {"x": 16, "b": 2, "o": 8}
_MAX_FLOAT = 1.7976931348623157e308
_MIN_INT64, _MAX_INT64, _MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1
_LARGEST_PLAIN_FLOAT = 1e21
"""From here on Go writes a float with an exponent, so that JSON has no integer of it."""


class KubernetesYamlError(ValueError):
    """A node that kubectl cannot convert to JSON; `span` is where it stands."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


@dataclass(frozen=True, slots=True)
class JsonContent:
    """A document as the API server gets it; `value` is None where `problem` says why there is none."""

    value: object
    problem: YamlProblem | None = None


def json_content(node: Node) -> JsonContent:
    """Return the value that kubectl sends for a document, or the problem that stops it."""
    try:
        return JsonContent(json_value(node))
    except KubernetesYamlError as error:
        return JsonContent(None, YamlProblem(ProblemKind.VALUE, str(error), error.span))


def json_value(node: Node) -> object:
    """Return a node as JSON values; raises `KubernetesYamlError`."""
    if isinstance(node, Scalar):
        value = _scalar_value(node)
        return value if isinstance(value, str) else _json_scalar(value, node)
    if isinstance(node, Sequence):
        return [json_value(item.value) for item in node.items]
    if node.is_plain:
        return {_key(entry): json_value(entry.value) for entry in node.entries}
    return {name: json_value(entry.value) for name, entry in json_entries(node).items()}


def json_entries(mapping: Mapping) -> dict[str, Entry]:
    """Return the entries that count, by the keys that JSON has; raises `KubernetesYamlError`.

    The last of two equal keys counts, and `<<` is expanded where it stands, so that it overrides what is before it.
    """
    if mapping.is_plain:
        return {_key(entry): entry for entry in mapping.entries}
    found: dict[str, Entry] = {}
    for entry in mapping.entries:
        if _is_merge(entry):
            for merged in _merged(entry):
                found.update(json_entries(merged))
        else:
            found[_key(entry)] = entry
    return found


def scalar_of_text(text: str) -> object:
    """Return the value of a plain scalar of a text."""
    if text[:1] in _NUMERIC:
        return _resolved(text) if len(text) <= _MAX_REMEMBERED else _resolve(text)
    return _WORDS.get(text, text)


def _json_scalar(value: object, node: Scalar) -> object:
    """Return the value of a scalar that is no text as it comes back from JSON; raises for what JSON lacks."""
    if type(value) is int and value > _MAX_INT64:
        return float(value)
    return _json_number(value, node) if isinstance(value, float) else value


def _scalar_value(node: Scalar) -> object:
    if node.tag is not None:
        return _tagged(node)
    return node.value if node.style is not None else scalar_of_text(node.value)


def _json_number(value: float, node: Scalar) -> object:
    """Return a float as it comes back from JSON: whole ones as integers; raises for what JSON lacks."""
    if value != value or abs(value) > _MAX_FLOAT:
        raise KubernetesYamlError(f"`{node.value}` is a number that JSON does not have", node.span)
    if not value.is_integer() or abs(value) >= _LARGEST_PLAIN_FLOAT:
        return value
    number = _shortest_integer(value)
    return number if _MIN_INT64 <= number <= _MAX_INT64 else value


def _shortest_integer(value: float) -> int:
    """Return the whole number that the shortest digits of a float stand for, filled up with zeros."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction.ljust(int(exponent), "0")) if exponent else int(value)


def _resolve(text: str) -> object:
    """Return a plain scalar that may be a number."""
    if text in _WORDS:
        return _WORDS[text]
    plain = text.replace("_", "") if text[0] != "." or re.match(_SPLIT_FRACTION, text) else text
    number = _integer(plain)
    if number is not None:
        return number
    return _float(plain, text) if re.fullmatch(_FLOAT, plain) else text


_resolved: Callable[[str], object] = lru_cache(maxsize=4096)(_resolve)


def _integer(text: str) -> int | None:
    """Return a whole number as Go's `ParseInt` and `ParseUint` of base 0 read it, None where they do not."""
    if re.fullmatch(_DECIMAL, text):
        number = int(text) if len(text) <= len(str(_MAX_UINT64)) + 1 else None
    else:
        based = re.fullmatch(_BASED, text)
        if based is None:
            return None
        digits = based["base"]
        base = _BASES.get(digits[0].lower(), 8)
        number = int(digits if digits[0].isdigit() else digits[1:], base) * (-1 if based["sign"] == "-" else 1)
    if number is None or number < _MIN_INT64 or number > (_MAX_INT64 if text[0] == "+" else _MAX_UINT64):
        return None
    return number


def _float(plain: str, text: str | None = None) -> object:
    """Return a decimal float, the text itself where it is out of range."""
    number = float(plain)
    return (plain if text is None else text) if abs(number) > _MAX_FLOAT else number


def _tagged(node: Scalar) -> object:
    """Return a scalar with a tag; one that the parser does not know leaves its text as it is."""
    tag, text = node.tag, node.value
    if tag == _TAG + "binary":
        return _decoded(node)
    if tag not in _RESOLVED_TAGS or (tag == _TAG + "timestamp" and re.fullmatch(_TIMESTAMP, text)):
        return text
    value = scalar_of_text(text)
    kind = "null" if value is None else _KINDS.get(type(value), "str")
    if tag == _TAG + kind:
        return value
    if tag == _TAG + "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise KubernetesYamlError(f"`{text[:40]}` cannot be read as a YAML {str(tag).removeprefix(_TAG)}", node.span)


_KINDS: dict[type, str] = {bool: "bool", int: "int", float: "float"}


def _decoded(node: Scalar) -> str:
    decoded = decoded_base64(node.value)
    if decoded is None:
        raise KubernetesYamlError("the text is not base64, as its tag `!!binary` says", node.span)
    return decoded.decode("utf-8", "replace")


def decoded_base64(text: str) -> bytes | None:
    """Decode a base64 text as Go does, which skips line breaks; None when it is not base64."""
    compact = text.replace("\r", "").replace("\n", "")
    if not re.fullmatch(_BASE64, compact):
        return None
    import binascii

    return binascii.a2b_base64(compact)


def _is_merge(entry: Entry) -> bool:
    key = entry.key
    return isinstance(key, Scalar) and key.value == MERGE_KEY and (key.style is None or key.tag == _TAG + "merge")


def _merged(entry: Entry) -> list[Mapping]:
    """Return the mappings that `<<` brings in, the strongest last."""
    value = entry.value
    values = [item.value for item in reversed(value.items)] if isinstance(value, Sequence) else [value]
    merged = [one for one in values if isinstance(one, Mapping)]
    if len(merged) < len(values):
        raise KubernetesYamlError("only a mapping or a list of mappings can be merged with `<<`", entry.value_span)
    return merged


def _key(entry: Entry) -> str:
    key = entry.key
    if not isinstance(key, Scalar):
        raise KubernetesYamlError("a list or mapping cannot be a key", key.span)
    value = _scalar_value(key)
    if isinstance(value, str):
        return value
    if value is None:
        raise KubernetesYamlError("null cannot be a key", key.span)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number_key(value, key)


def _number_key(value: object, key: Scalar) -> str:
    """Return a number as a key: floats as Go's `FormatFloat` writes them with 32 bits."""
    if isinstance(value, int) and value <= _MAX_INT64:
        return str(value)
    if not isinstance(value, float):
        raise KubernetesYamlError(f"`{key.value[:40]}` cannot be a key", key.span)
    if value != value:
        return ".nan"
    if abs(value) > _MAX_FLOAT:
        return ".inf" if value > 0 else "-.inf"
    return _shortest_float32(value)


def _shortest_float32(value: float) -> str:
    """Return the shortest digits that stand for a number in 32 bits, with an exponent from a million on."""
    import struct

    def rounded(number: float) -> float:
        return float(struct.unpack("f", struct.pack("f", number))[0])

    single = rounded(value)
    mantissa, _, exponent = next(
        text for digits in range(9) if rounded(float(text := f"{single:.{digits}e}")) == single
    ).partition("e")
    if -4 <= int(exponent) < 6:
        return f"{float(f'{mantissa}e{exponent}'):.9f}".rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent):+03d}"
