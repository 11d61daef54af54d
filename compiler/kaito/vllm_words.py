"""From the pairs under `vllm` to the words that vLLM's parser sees.

Kaito's launcher makes two words of each pair, `--<key>` and `str(value)` (inference_api.py, `parse_args`). vLLM's
`FlexibleArgumentParser.parse_args` then writes hyphens for underscores, and gathers dotted arguments into JSON that it
puts last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from kaitoc.compiler.kaito.vllm_options import ServingTable

CONTROLLER = -1
"""Stands for the index of a pair in words that Kaito's controller wrote."""
_MAX_TEXT = 100_000


class Word(NamedTuple):
    """One word and the pair it comes from; `is_key` tells a key from a value."""

    text: str
    pair: int
    is_key: bool


class Gathered(NamedTuple):
    """The words after vLLM's own reading, and the pairs that broke it.

    `dotted` has the pairs behind each argument that was put together of dotted ones; `swallowed` the pairs whose word
    was taken for the value of a dotted one.
    """

    words: tuple[Word, ...]
    dotted: dict[str, tuple[int, ...]]
    unfinished: int | None
    swallowed: tuple[int, ...]


def words_of(pairs: Sequence[tuple[object, object]]) -> list[Word]:
    """Return the words of pairs, as Kaito's launcher writes them."""
    words = []
    for index, (key, value) in enumerate(pairs):
        words.append(Word(f"--{key}", index, True))
        words.append(Word(_shown(value), index, False))
    return words


def _shown(value: object) -> str:
    try:
        return str(value)[:_MAX_TEXT]
    except (ValueError, RecursionError):
        return "--"


def hyphenated(text: str) -> str:
    """Return an argument with hyphens for underscores in the part before its first dot."""
    if not text.startswith("--"):
        return text
    key, equals, value = text.partition("=")
    head, dot, tail = key[2:].partition(".")
    return f"--{head.replace('_', '-')}{dot}{tail}{equals}{value}"


def gather(words: Sequence[Word], table: ServingTable) -> Gathered:
    """Return the words as argparse gets them."""
    words = list(_normalized(words))
    kept: list[Word] = []
    merged: dict[str, Any] = {}
    dotted: dict[str, list[int]] = {}
    swallowed: list[int] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        text = word.text
        name, equals, value = text.partition("=")
        is_dotted = text.startswith("-") and "." in (name if equals else text)
        if not is_dotted or (text.startswith("--") and "." not in text):
            kept.append(word)
            continue
        if not equals:
            if position >= len(words):
                return Gathered(tuple(kept), {}, word.pair, tuple(swallowed))
            value = words[position].text
            if words[position].is_key:
                swallowed.append(words[position].pair)
            position += 1
        if not word.is_key:
            swallowed.append(word.pair)
        if name.endswith("+"):
            name, value = name[:-1], json.dumps(value.split(","))
        head, *keys = name.split(".")
        _merge(merged.setdefault(head, {}), _nested(keys, _dotted_value(value, table)))
        dotted.setdefault(head, []).append(word.pair)
    for head, content in merged.items():
        index = dotted[head][-1]
        kept += (Word(head, index, True), Word(json.dumps(content), index, False))
    return Gathered(tuple(kept), {head: tuple(found) for head, found in dotted.items()}, None, tuple(swallowed))


def _normalized(words: Sequence[Word]) -> list[Word]:
    found: list[Word] = []
    for number, word in enumerate(words):
        text = word.text
        if text.startswith("--help="):
            found.append(word._replace(text="--help"))
        elif text.startswith("--"):
            found.append(word._replace(text=hyphenated(text)))
        elif text.startswith("-O") and text != "-O":
            found.append(word._replace(text="--optimization-level"))
            found.append(word._replace(text=text[3:] if text[2] == "=" else text[2:], is_key=False))
        elif text == "-O" and number + 1 < len(words) and words[number + 1].text in ("0", "1", "2", "3"):
            found.append(word._replace(text="--optimization-level"))
        else:
            found.append(word)
    return found


def _dotted_value(text: str, table: ServingTable) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if table.content.get("expands_sizes"):
        from kaitoc.compiler.kaito.vllm_values import size_of_text  # values reads shapes, which few words need

        size = size_of_text(text)
        if size is not None:
            return size
    return text


def _nested(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(into: Any, update: Any) -> None:
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and isinstance(into.get(key), list):
            into[key] += value
        else:
            into[key] = value


_NEGATIVE = re.compile(r"^-\d+$|^-\d*\.\d+$")


def is_negative_number(text: str) -> bool:
    """Return whether argparse takes a word that begins with a dash for a number."""
    return _NEGATIVE.match(text) is not None
