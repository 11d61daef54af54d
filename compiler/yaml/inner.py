"""The YAML inside a scalar of a manifest.

Manifests are made from one another, so the same text stands in many of them. It is read once, and moved to where it
stands; nothing in what is read may be changed.
"""

from __future__ import annotations

from kaitoc.compiler.core.memo import Memo, SizedCache
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Source, Span, make_span
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.scalar_map import ScalarMap, map_scalar
from kaitoc.compiler.yaml.tree import Document, Entry, Item, Mapping, Node, ProblemKind, Scalar, Sequence, YamlProblem
from kaitoc.compiler.yaml.values import value_problems

MAX_CHARACTERS = 50_000
"""Longest text that is read; Kaito's own have 2,500 characters, and one of a million takes 150 MB and five seconds."""

_REMEMBERED_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class InnerYaml:
    """What the text of a scalar says as YAML, and where each part of it stands in the file.

    `root` is None where the first document is empty or cannot be read; `problems` are the faults of that document,
    and `second_document` is where another one stands. `memo` is for what follows from the text alone: equal texts
    share it while they are remembered.
    """

    scalar_map: ScalarMap
    root: Node | None
    problems: tuple[YamlProblem, ...]
    second_document: Span | None
    memo: Memo = field(default_factory=Memo)

    def moved_to(self, start: int) -> InnerYaml:
        """Return the same for a scalar that starts at another offset."""
        by = start - self.scalar_map.outer_start
        if not by:
            return self
        return InnerYaml(
            self.scalar_map.moved(by),
            _moved(self.root, by, {}) if self.root is not None else None,
            tuple(_moved_problem(problem, by) for problem in self.problems),
            _moved_span(self.second_document, by) if self.second_document is not None else None,
            self.memo,
        )


_Key = tuple[str, str, str | None, str]
_remembered: SizedCache[_Key, InnerYaml] = SizedCache(_REMEMBERED_CHARACTERS)


def read_inner_yaml(source: Source, scalar: Scalar) -> InnerYaml:
    """Return the YAML inside a scalar that stands directly in a source."""
    raw = source.slice(scalar.span)
    if len(raw) > MAX_CHARACTERS:
        return _unread(source, scalar)
    key = (raw, scalar.value, scalar.style, source.newline)
    known = _remembered.get(key)
    inner = known.moved_to(scalar.span.start) if known is not None else _read_anew(source, scalar)
    if inner is not known:
        _remembered.put(key, inner, len(raw))
    return inner


def _unread(source: Source, scalar: Scalar) -> InnerYaml:
    """Report a text that is too long to be read; its map covers its first character only."""
    start = scalar.span.start
    head = Scalar(Span(start, start + 1), "", scalar.style, scalar.tag)
    message = f"longer than {MAX_CHARACTERS:,} characters, more than any training config; it is not read"
    return InnerYaml(map_scalar(source, head), None, (YamlProblem(ProblemKind.TOO_LONG, message, head.span),), None)


def _read_anew(source: Source, scalar: Scalar) -> InnerYaml:
    scalar_map = map_scalar(source, scalar)
    first, second, *_ = (*parse_documents(source, scalar.value, scalar_map.span, is_pythons=True), None, None)
    root = first.root if first is not None else None
    return InnerYaml(
        scalar_map,
        root,
        tuple(_problems_of(first)) if first is not None else (),
        second.span if second is not None else None,
    )


def _problems_of(document: Document) -> list[YamlProblem]:
    return [*document.problems, *(value_problems(document.root) if document.root is not None else ())]


def _moved_span(span: Span, by: int) -> Span:
    return make_span(span.start + by, span.end + by)


def _moved_problem(problem: YamlProblem, by: int) -> YamlProblem:
    related = _moved_span(problem.related, by) if problem.related is not None else None
    return YamlProblem(problem.kind, problem.message, _moved_span(problem.span, by), related)


def _moved(node: Node, by: int, done: dict[int, Node]) -> Node:
    """Return a node and what is below it elsewhere; a node that stands in several places stays one."""
    moved = done.get(id(node))
    if moved is not None:
        return moved
    span = _moved_span(node.span, by)
    if isinstance(node, Scalar):
        moved = Scalar(span, node.value, node.style, node.tag, node.placeholder)
    elif isinstance(node, Sequence):
        items = [Item(_moved(item.value, by, done), _moved_span(item.span, by)) for item in node.items]
        moved = Sequence(span, items, node.is_flow, node.tag, node.depth, node.num_nodes)
    else:
        entries = [
            Entry(_moved(e.key, by, done), _moved(e.value, by, done), _moved_span(e.value_span, by))
            for e in node.entries
        ]
        moved = Mapping(span, entries, node.is_flow, node.tag, node.depth, node.num_nodes, node.is_plain)
    done[id(node)] = moved
    return moved
