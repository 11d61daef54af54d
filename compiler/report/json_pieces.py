"""Indented JSON written item by item, in the bytes that `json.dumps(..., indent=2)` gives for the whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

_INDENT = 2


def item(value: object, depth: int) -> str:
    """Return a value as an item of a list that stands `depth` levels deep."""
    return _margin(depth) + _indented(value, depth)


def joined(items: Iterable[str]) -> str:
    """Return items as neighbours in a list."""
    return ",\n".join(items)


def filled(skeleton: str, lists: Iterable[tuple[str, int, Iterable[str]]]) -> Iterator[str]:
    """Yield a document whose lists, empty in `skeleton`, are filled in the order in which they stand in it.

    Each is given as the text before its brackets, the depth of its items and the items, empty ones left out.
    """
    remaining = skeleton
    for before, depth, items in lists:
        head, _, remaining = remaining.partition(f"{before}[]")
        yield head + before
        is_empty = True
        for text in items:
            if text:
                yield ("[\n" if is_empty else ",\n") + text
                is_empty = False
        yield "[]" if is_empty else f"\n{_margin(depth - 1)}]"
    yield remaining + "\n"


def _indented(value: object, depth: int) -> str:
    """Return a value whose first line is already indented.

    The standard library's indenting encoder leaves a cycle of functions behind on every call, which pile up until
    the collector comes by.
    """
    inner = _margin(depth + 1)
    if isinstance(value, dict) and value:
        members = (f"{inner}{json.dumps(name)}: {_indented(item, depth + 1)}" for name, item in value.items())
        return "{\n" + ",\n".join(members) + f"\n{_margin(depth)}}}"
    if isinstance(value, list) and value:
        items = (inner + _indented(item, depth + 1) for item in value)
        return "[\n" + ",\n".join(items) + f"\n{_margin(depth)}]"
    return json.dumps(value)


def _margin(depth: int) -> str:
    return " " * (_INDENT * depth)
