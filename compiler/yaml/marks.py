"""Marks the scalars of a document whose value is a placeholder."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.placeholders import placeholder_in
from kaitoc.compiler.yaml.tree import Document, Mapping, Node, Scalar, Sequence, YamlProblem, walk

Restore = Callable[[str], str]
"""Returns a text that was parsed with words for placeholders as it is written."""


def _as_it_is(text: str) -> str:
    return text


def mark_placeholders(documents: Iterable[Document], restore: Restore = _as_it_is) -> None:
    """Mark the scalars of documents that were just built.

    `{{ x }}` and `{NAME}` become scalars; for YAML they are mappings, of a mapping and of a name to nothing.
    """
    for document in documents:
        if restore is not _as_it_is:
            document.problems = [
                YamlProblem(problem.kind, restore(problem.message), problem.span, problem.related)
                for problem in document.problems
            ]
        if document.root is None:
            continue
        document.root = _marked(document.root, "", document.source, restore)
        for node in walk(document.root):
            _mark_children(node, document.source, restore)


def _mark_children(node: Node, source: Source, restore: Restore) -> None:
    if isinstance(node, Mapping):
        for entry in node.entries:
            entry.key = _marked(entry.key, "", source, restore)
            entry.value = _marked(entry.value, entry.name, source, restore)
    elif isinstance(node, Sequence):
        for item in node.items:
            item.value = _marked(item.value, "", source, restore)


def _marked(node: Node, key: str, source: Source, restore: Restore) -> Node:
    """Return a node, a scalar marked; the elements of a list stand under the list's key."""
    if isinstance(node, Scalar):
        value = restore(node.value)
        if value != node.value or restore is _as_it_is:
            node.value = value
            node.placeholder = placeholder_in(value, key, node.tag)
    elif isinstance(node, Sequence):
        for item in node.items if key else ():
            item.value = _marked(item.value, key, source, restore)
    elif node.is_flow and len(node.entries) == 1:
        text = source.slice(node.span)
        if placeholder_in(text, key) == text:
            return Scalar(node.span, text, None, node.tag, text)
    return node
