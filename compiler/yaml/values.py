"""What PyYAML's `safe_load` makes of a node, which is how Kaito's runtime reads its configuration.

YAML 1.1 rules hold: `no` is False, `010` is 8, `1e-4` is a string. The library's own constructor converts scalars.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import yaml

from kaitoc.compiler.core.annotations import Any
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.yaml.tree import Mapping, Node, ProblemKind, Scalar, Sequence, YamlProblem, walk

_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_RESOLVER: Any = yaml.resolver.Resolver()
_STRING_TAG = "tag:yaml.org,2002:str"
_SECONDARY_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(tag for tag in yaml.constructor.SafeConstructor.yaml_constructors if tag is not None)
_MAPPING_TAGS, _SEQUENCE_TAGS = ("map", "set"), ("seq", "omap", "pairs")
_MERGE_TAG = "tag:yaml.org,2002:merge"
_REMEMBERED_CHARACTERS = 100
"""Longer scalars are not remembered: they seldom come again, and a hostile one may have a million characters."""


class YamlValueError(ValueError):
    """A node that `safe_load` refuses; `span` is where it stands."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


def scalar_value(scalar: Scalar) -> object:
    """Return a scalar as bool, int, float, None, date, bytes or str; raises `YamlValueError`."""
    if scalar.style is not None and scalar.tag is None:
        return scalar.value
    try:
        construct = _construct_once if len(scalar.value) <= _REMEMBERED_CHARACTERS else _construct
        return construct(scalar.value, scalar.style is None, scalar.tag)
    except _RefusedError as error:
        raise YamlValueError(str(error), scalar.span) from error


class _RefusedError(Exception):
    """A scalar that cannot be constructed; says why."""


def _construct(value: str, is_plain: bool, tag: str | None) -> object:
    """Return the value that a scalar's text stands for."""
    if tag is None or tag == "!":
        tag = _RESOLVER.resolve(yaml.ScalarNode, value, (is_plain, not is_plain))
    if tag in (_STRING_TAG, _MERGE_TAG):
        return value
    if tag not in _KNOWN_TAGS:
        raise _RefusedError(f"the tag `{tag}` is not part of plain YAML")
    try:
        return _CONSTRUCTOR.construct_object(yaml.ScalarNode(tag, value))
    except (ValueError, yaml.YAMLError, OverflowError, KeyError, IndexError, AttributeError) as error:
        kind = str(tag).removeprefix(_SECONDARY_TAG)
        raise _RefusedError(f"`{value[:40]}` cannot be read as a YAML {kind}") from error
    finally:
        _CONSTRUCTOR.constructed_objects.clear()


_construct_once = lru_cache(maxsize=4096)(_construct)
"""The same few values stand in every manifest."""


def plain_value(node: Node) -> object:
    """Return a node as plain Python values, aliases expanded (the tree bounds how far); raises `YamlValueError`."""
    if isinstance(node, Scalar):
        return scalar_value(node)
    if isinstance(node, Sequence):
        return [plain_value(item.value) for item in node.items]
    result: dict[object, object] = {}
    for entry in node.effective_entries():
        key = plain_value(entry.key)
        if isinstance(key, (list, dict)):
            raise YamlValueError("a list or mapping cannot be a key", entry.key.span)
        result[key] = plain_value(entry.value)
    return result


def value_problems(root: Node) -> Iterator[YamlProblem]:
    """Yield what would stop `safe_load` from constructing a document that parses."""
    for node in walk(root):
        if isinstance(node, Scalar):
            if node.placeholder or (node.style is not None and node.tag is None):
                continue
            try:
                scalar_value(node)
            except YamlValueError as error:
                yield YamlProblem(ProblemKind.VALUE, str(error), error.span)
        elif isinstance(node, Mapping):
            for entry in node.entries:
                if entry.is_merge and not _can_merge(entry.value):
                    message = "only a mapping or a list of mappings can be merged with `<<`"
                    yield YamlProblem(ProblemKind.VALUE, message, entry.value_span)
                if not isinstance(entry.key, Scalar):
                    yield YamlProblem(ProblemKind.VALUE, "a list or mapping cannot be a key", entry.key.span)
        if not isinstance(node, Scalar):
            yield from _collection_problems(node)


def _collection_problems(node: Sequence | Mapping) -> Iterator[YamlProblem]:
    """Yield a tag that no collection of the kind has, and `<<` where it is a value."""
    tags = _MAPPING_TAGS if isinstance(node, Mapping) else _SEQUENCE_TAGS
    if node.tag is not None and node.tag not in _KNOWN_TAGS:
        yield YamlProblem(ProblemKind.VALUE, f"the tag `{node.tag}` is not part of plain YAML", node.span)
    elif node.tag is not None and node.tag != "!" and node.tag.removeprefix(_SECONDARY_TAG) not in tags:
        kind = "mapping" if isinstance(node, Mapping) else "list"
        yield YamlProblem(ProblemKind.VALUE, f"the tag `{node.tag}` is not one of a {kind}", node.span)
    values = [entry.value for entry in node.entries] if isinstance(node, Mapping) else [one.value for one in node.items]
    for value in values:
        if isinstance(value, Scalar) and value.value == "<<" and value.style is None and value.tag is None:
            yield YamlProblem(ProblemKind.VALUE, "`<<` is a key, which merges mappings, and no value", value.span)


def _can_merge(node: Node) -> bool:
    if isinstance(node, Scalar):
        return bool(node.placeholder)
    if isinstance(node, Sequence):
        return all(isinstance(item.value, Mapping) for item in node.items)
    return isinstance(node, Mapping)
