"""YAML nodes that know their place.

Spans are offsets in the outer file, also for nodes of a document that lives inside a scalar (see `scalar_map`).
Aliases share their target instead of being copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from kaitoc.compiler.core.annotations import TypeAlias
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, Span

MERGE_KEY = "<<"


class ProblemKind(str, Enum):
    """What can be wrong with YAML itself."""

    SYNTAX = "syntax"
    DUPLICATE_KEY = "duplicate key"
    SECOND_DOCUMENT = "second document"
    VALUE = "value"
    TOO_LONG = "too long"


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """A fault of the YAML text; `related` is the place of the first of two duplicates."""

    kind: ProblemKind
    message: str
    span: Span
    related: Span | None = None


@dataclass(slots=True, eq=False)
class Scalar:
    """A scalar: its text as YAML reads it. `style` is None for plain, else one of `' " | >`.

    `placeholder` is what keeps its value from being known, such as `${RANK}`, empty where it is what it says.
    """

    span: Span
    value: str
    style: str | None
    tag: str | None
    placeholder: str = ""


@dataclass(slots=True, eq=False)
class Item:
    """An element of a sequence; `span` is where it stands, which for an alias is not where the node stands."""

    value: Node
    span: Span


@dataclass(slots=True, eq=False)
class Sequence:
    """A sequence and its elements; `depth` and `num_nodes` are those of its expanded content."""

    span: Span
    items: list[Item]
    is_flow: bool
    tag: str | None
    depth: int = 1
    num_nodes: int = 1


@dataclass(slots=True, eq=False)
class Entry:
    """A key and its value; `value_span` is where the value stands, for an alias the alias itself."""

    key: Node
    value: Node
    value_span: Span

    @property
    def name(self) -> str:
        """Return the key's text, empty for a key that is not a scalar."""
        return self.key.value if isinstance(self.key, Scalar) else ""

    @property
    def is_merge(self) -> bool:
        """Return whether this is a merge key, `<<` without quotes."""
        return isinstance(self.key, Scalar) and self.key.style is None and self.key.value == MERGE_KEY

    @property
    def is_alias(self) -> bool:
        """Return whether the value is an alias to a node elsewhere."""
        return self.value_span != self.value.span


@dataclass(slots=True, eq=False)
class Mapping:
    """A mapping and its entries as written; `get` and `effective_entries` resolve merge keys.

    `is_plain`: no key is written twice and none is a merge key, so the entries are what counts.
    """

    span: Span
    entries: list[Entry]
    is_flow: bool
    tag: str | None
    depth: int = 1
    num_nodes: int = 1
    is_plain: bool = False
    _by_name: dict[str, Entry] | None = None

    def get(self, name: str) -> Entry | None:
        """Return the entry that counts for a key: the last one written, else one merged with `<<`."""
        by_name = self._by_name
        if by_name is None:
            entries = self.effective_entries()
            by_name = self._by_name = {
                key.value if isinstance(key := entry.key, Scalar) else "": entry for entry in entries
            }
        return by_name.get(name)

    def effective_entries(self) -> list[Entry]:
        """Return one entry per key, duplicates resolved to the last and merge keys expanded."""
        if self.is_plain:
            return self.entries
        own = {key_identity(entry.key): entry for entry in self.entries if not entry.is_merge}
        merged: dict[object, Entry] = {}
        for entry in _merged_entries(self, {id(self)}):
            merged.setdefault(key_identity(entry.key), entry)
        return list({**merged, **own}.values())


Node: TypeAlias = "Scalar | Sequence | Mapping"


@dataclass(slots=True, eq=False)
class Document:
    """One YAML document; `root` is None when it is empty or could not be read."""

    source: Source
    root: Node | None
    span: Span
    problems: list[YamlProblem] = field(default_factory=list)


def key_identity(key: Node) -> object:
    """Return the identity of a key: the text of a scalar, else the node itself."""
    return key.value if isinstance(key, Scalar) else id(key)


def _merged_entries(mapping: Mapping, seen: set[int]) -> Iterator[Entry]:
    """Yield what `<<` brings in, the strongest first; each mapping is visited once."""
    for entry in mapping.entries:
        if not entry.is_merge:
            continue
        values = [item.value for item in entry.value.items] if isinstance(entry.value, Sequence) else [entry.value]
        for value in values:
            if isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                yield from (inner for inner in reversed(value.entries) if not inner.is_merge)
                yield from _merged_entries(value, seen)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes below it once, aliased ones too."""
    stack = [node]
    seen: set[int] = set()
    while stack:
        current = stack.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, Mapping):
            for entry in reversed(current.entries):
                stack.append(entry.value)
                stack.append(entry.key)
        elif isinstance(current, Sequence):
            stack.extend(item.value for item in reversed(current.items))


def placeholder_of(node: Node) -> str:
    """Return the first placeholder in a value, empty where all of it is known."""
    if isinstance(node, Scalar):
        return node.placeholder
    return next((below.placeholder for below in walk(node) if isinstance(below, Scalar) and below.placeholder), "")
