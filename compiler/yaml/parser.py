"""YAML text to nodes, through libyaml's parser events.

The tree is built with an explicit stack, so deep nesting cannot exhaust the interpreter's, and its expanded size is
bounded, so an alias bomb cannot go off in anything that walks it later.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import yaml

from kaitoc.compiler.core.annotations import Any, Protocol, TypeAlias
from kaitoc.compiler.core.patterns import pattern
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span, make_span
from kaitoc.compiler.yaml.marks import mark_placeholders
from kaitoc.compiler.yaml.placeholders import mask
from kaitoc.compiler.yaml.tree import (
    MERGE_KEY,
    Document,
    Entry,
    Item,
    Mapping,
    Node,
    ProblemKind,
    Scalar,
    Sequence,
    YamlProblem,
    key_identity,
)

MAX_DEPTH = 100
"""Deepest nesting that is read, aliases expanded; nothing real comes near."""

MAX_EXPANDED_NODES = 50_000
"""How many nodes a document with aliases may have once they are expanded; an alias bomb has millions."""

_PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_PYTHONS_OWN = pattern(r"\t|^%", re.MULTILINE)
"""Text of which PyYAML's own scanner and libyaml make different things: tabs between tokens, and directives."""
_BLOCK_STYLES = ("|", ">")
_BOM = "\ufeff"
_PROPERTIES = pattern(r"(?:[&!][^\s,\[\]{}]*(?:[ \t]+|(?:\r\n?|\n)[ \t]*|$))+")
_DOCUMENT_START = pattern(r"^---(?=[ \t\r\n]|$)", re.MULTILINE)
_UNPRINTABLE = pattern("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_Event: TypeAlias = Any  # the types of parser events are not declared by types-PyYAML
_Loader: TypeAlias = Any  # nor is the one class that libyaml's loader and Python's share


class ToOuter(Protocol):
    """Maps a half-open range of a parsed text to the span of it in the file it stands in."""

    def __call__(self, start: int, end: int, /) -> Span:
        """Return the outer span of a half-open range of the parsed text."""
        ...


def parse_documents(
    source: Source, text: str | None = None, to_outer: ToOuter = make_span, *, is_pythons: bool = False
) -> list[Document]:
    """Read every document of a source, or of a text embedded in it; `is_pythons` for a text that PyYAML reads.

    After a syntax error reading goes on at the next `---`, so one broken document does not hide the others. Scalars
    that hold a placeholder say so; where placeholders break the YAML around them, they are read as words.
    """
    text = source.text if text is None else text
    documents = _parse_all(source, text, to_outer, is_pythons=is_pythons)
    masked = mask(text)
    if masked is None:
        return documents
    if _num_broken(documents):
        with_words = _parse_all(source, masked.text, to_outer, is_pythons=is_pythons)
        if _num_broken(with_words) < _num_broken(documents):
            mark_placeholders(with_words, masked.restored)
            return with_words
    mark_placeholders(documents)
    return documents


def _parse_all(source: Source, text: str, to_outer: ToOuter, *, is_pythons: bool) -> list[Document]:
    loader = yaml.BaseLoader if is_pythons and _PYTHONS_OWN.search(text) else _PARSER
    documents: list[Document] = []
    base = 0
    while True:
        builder = _Builder(source, text, base + _skipped(text, base), to_outer, documents, refuses_reuse=is_pythons)
        error_offset = _parse_run(builder, text, base + _skipped(text, base), loader)
        if error_offset is None:
            return documents
        marker = _DOCUMENT_START.search(text, max(error_offset, base + 1))
        if marker is None:
            return documents
        base = marker.start()


def _num_broken(documents: Iterable[Document]) -> int:
    return sum(problem.kind is ProblemKind.SYNTAX for document in documents for problem in document.problems)


def _skipped(text: str, base: int) -> int:
    """Return the length of a byte order mark, which libyaml skips without counting it."""
    return len(_BOM) if text.startswith(_BOM, base) else 0


def _parse_run(builder: _Builder, text: str, base: int, loader: _Loader) -> int | None:
    """Build the documents from `base` on; return the offset of a syntax error, or None when all was read."""
    try:
        next_event = loader(text[base:] if base else text).get_event
        while (event := next_event()) is not None:
            take = _TAKES.get(type(event))
            if take is not None:
                take(builder, event)
    except _UnreadableError as error:
        return builder.fail(str(error), error.offset)
    except yaml.reader.ReaderError:
        match = _UNPRINTABLE.search(text, base)
        offset = match.start() if match else base
        character = f"U+{ord(text[offset]):04X}" if match else "a character"
        return builder.fail(f"{character} is not allowed in YAML", offset)
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark if str(error.problem) in _NOTICED_LATE else None
        mark = mark or error.problem_mark or error.context_mark
        return builder.fail(_describe(error), base + (mark.index if mark is not None else 0))
    except RecursionError:
        return builder.fail("nested too deeply to be read", base)
    return None


_NOTICED_LATE = (
    "found unexpected end of stream",
    "found unexpected document indicator",
    "could not find expected ':'",
)
"""What libyaml notices lines after the quote that is never closed, or after the text that is no key, where it began."""


def _describe(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "cannot be read")
    if "cannot start any token" in problem and "\\t" in repr(problem):
        return "a tab cannot be used for indentation or before a value"
    return f"{error.context}: {problem}" if error.context else problem


class _UnreadableError(Exception):
    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen; `key` is a mapping key that waits for its value.

    `items` is a sequence's own list of elements, `entries` a mapping's own list, the other is None.
    """

    node: Sequence | Mapping
    items: list[Item] | None
    entries: list[Entry] | None
    key: Node | None = None


class _Builder:
    """Builds documents from parser events."""

    def __init__(
        self, source: Source, text: str, base: int, to_outer: ToOuter, documents: list[Document], *, refuses_reuse: bool
    ) -> None:
        """Take a text from `base` on; `refuses_reuse` of an anchor's name, as PyYAML does."""
        self._source = source
        self._refuses_reuse = refuses_reuse
        self._text = text
        self._base = base
        self._to_outer = to_outer
        self._documents = documents
        self._document: Document | None = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._has_alias = False

    def _open_document(self, event: _Event) -> None:
        span = self._outer(event)
        self._document = Document(self._source, None, span)
        self._documents.append(self._document)
        self._anchors = {}
        self._has_alias = False

    def _close_document(self, event: _Event) -> None:
        if self._document is not None:
            end = self._outer(event).end
            self._document.span = Span(self._document.span.start, max(end, self._document.span.end))

    def _open_mapping(self, event: _Event) -> None:
        entries: list[Entry] = []
        node = Mapping(self._content_span(event), entries, bool(event.flow_style), event.tag)
        self._open(event, _Open(node, None, entries))

    def _open_sequence(self, event: _Event) -> None:
        items: list[Item] = []
        node = Sequence(self._content_span(event), items, bool(event.flow_style), event.tag)
        self._open(event, _Open(node, items, None))

    def fail(self, message: str, offset: int) -> int:
        """Record a syntax error, drop the half-read document, and return the error's offset."""
        offset = min(offset, len(self._text))
        document = self._document
        if document is None or (document.root is not None and not self._stack):
            document = Document(self._source, None, self._to_outer(offset, offset))
            self._documents.append(document)
        document.root = None
        document.problems = [YamlProblem(ProblemKind.SYNTAX, message, self._error_span(offset))]
        return offset

    def _error_span(self, offset: int) -> Span:
        while offset > 0 and (offset >= len(self._text) or self._text[offset] in "\r\n"):
            if offset < len(self._text) and self._text[offset - 1] not in "\r\n":
                break
            offset -= 1
        return self._to_outer(offset, min(offset + 1, len(self._text)))

    def _outer(self, event: _Event) -> Span:
        return self._to_outer(self._base + event.start_mark.index, self._base + event.end_mark.index)

    def _content_start(self, event: _Event) -> int:
        """Find the start of a node's content after its anchor and tag."""
        start: int = self._base + event.start_mark.index
        if (event.anchor is not None or event.tag is not None) and self._text[start : start + 1] in ("&", "!"):
            properties = _PROPERTIES.match(self._text, start)
            if properties is not None:
                end: int = self._base + event.end_mark.index
                return min(properties.end(), end)
        return start

    def _content_span(self, event: _Event) -> Span:
        return self._to_outer(self._content_start(event), self._base + event.end_mark.index)

    def _scalar(self, event: _Event) -> None:
        tag, anchor, style = event.tag, event.anchor, event.style
        start = self._base + event.start_mark.index
        if tag is not None or anchor is not None:
            start = self._content_start(event)
        end = self._base + event.end_mark.index
        if style in _BLOCK_STYLES:
            end = start + len(self._text[start:end].rstrip(" \t\r\n\x85\u2028\u2029"))
        span = self._to_outer(start, end)
        node = Scalar(span, event.value, style or None, tag)
        if anchor is not None:
            self._note_anchor(event, node)
        self._place(node, span)

    def _note_anchor(self, event: _Event, node: Node) -> None:
        if self._refuses_reuse and event.anchor in self._anchors:
            raise _UnreadableError(f"found duplicate anchor `{event.anchor}`", self._base + event.start_mark.index)
        self._anchors[event.anchor] = node

    def _alias(self, event: _Event) -> None:
        target = self._anchors.get(event.anchor)
        span = self._outer(event)
        if target is None:
            raise _UnreadableError(f"found undefined alias `{event.anchor}`", self._base + event.start_mark.index)
        if any(level.node is target for level in self._stack):
            raise _UnreadableError(f"alias `{event.anchor}` contains itself", self._base + event.start_mark.index)
        self._has_alias = True
        self._place(target, span)

    def _open(self, event: _Event, level: _Open) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _UnreadableError(f"nested deeper than {MAX_DEPTH} levels", self._base + event.start_mark.index)
        if event.anchor is not None:
            self._note_anchor(event, level.node)
        self._stack.append(level)

    def _close(self, event: _Event) -> None:
        level = self._stack.pop()
        node, items, entries = level.node, level.items, level.entries
        start, end = node.span
        if node.is_flow:
            end = self._outer(event).end
        elif entries:
            start, end = entries[0].key.span.start, entries[-1].value_span.end
        elif items:
            end = items[-1].span.end
        if entries is not None and isinstance(node, Mapping):
            self._find_duplicates(node, entries)
        span = node.span = make_span(start, end if end > start else start)
        self._measure(node, entries or items or (), event)
        self._place(node, span)

    def _measure(self, node: Sequence | Mapping, children: Iterable[Item | Entry], event: _Event) -> None:
        num_nodes, depth = 1, 1
        for child in children:
            value = child.value
            if isinstance(value, Scalar):
                num_nodes += 1
            else:
                num_nodes += value.num_nodes
                depth = max(depth, value.depth + 1)
        node.num_nodes, node.depth = num_nodes, depth
        if self._has_alias and num_nodes > MAX_EXPANDED_NODES:
            message = f"aliases expand to more than {MAX_EXPANDED_NODES:,} nodes"
            raise _UnreadableError(message, self._base + event.start_mark.index)
        if depth > MAX_DEPTH:
            message = f"nested deeper than {MAX_DEPTH} levels"
            raise _UnreadableError(message, self._base + event.start_mark.index)

    def _place(self, node: Node, span: Span) -> None:
        if not self._stack:
            if self._document is not None:
                self._document.root = node
            return
        level = self._stack[-1]
        if level.items is not None:
            level.items.append(Item(node, span))
        elif level.key is None:
            level.key = node
        elif level.entries is not None:
            level.entries.append(Entry(level.key, node, span))
            level.key = None

    def _find_duplicates(self, mapping: Mapping, entries: list[Entry]) -> None:
        keys = {key.value if isinstance(key := entry.key, Scalar) else id(key) for entry in entries}
        if len(keys) == len(entries):
            mapping.is_plain = MERGE_KEY not in keys
            return
        first: dict[object, Span] = {}
        for entry in entries:
            earlier = first.setdefault(key_identity(entry.key), entry.key.span)
            if earlier is not entry.key.span and not entry.is_merge and self._document is not None:
                message = f"the key `{entry.name}` is set twice; only the last one takes effect"
                self._document.problems.append(YamlProblem(ProblemKind.DUPLICATE_KEY, message, entry.key.span, earlier))


_TAKES: dict[type, Callable[[_Builder, _Event], None]] = {
    yaml.ScalarEvent: _Builder._scalar,
    yaml.MappingStartEvent: _Builder._open_mapping,
    yaml.MappingEndEvent: _Builder._close,
    yaml.SequenceStartEvent: _Builder._open_sequence,
    yaml.SequenceEndEvent: _Builder._close,
    yaml.AliasEvent: _Builder._alias,
    yaml.DocumentStartEvent: _Builder._open_document,
    yaml.DocumentEndEvent: _Builder._close_document,
}
"""What each event does to the tree, which may raise `_UnreadableError`; the stream's own start and end do nothing."""
