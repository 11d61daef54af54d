"""Applies the suppressions of a file, from its comments and its objects' annotations, to the findings in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.job.suppressions import (
    ANNOTATION,
    SuppressedFindings,
    Suppression,
    apply_suppressions,
    find_suppressions,
    parse_annotation,
)
from kaitoc.compiler.manifest.inner_configs import inner_configs
from kaitoc.compiler.manifest.objects import ManifestFile
from kaitoc.compiler.yaml.tree import Mapping, Node, walk


def suppress_in_file(
    file: ManifestFile, findings: Iterable[Finding], *, refuse_errors: bool, not_run: frozenset[str]
) -> SuppressedFindings:
    """Split the findings of one file by what its suppressions say."""
    suppressions = list(_suppressions(file))
    lines = _LineSpans(file)
    return apply_suppressions(findings, suppressions, lines.covered, refuse_errors=refuse_errors, not_run=not_run)


def _suppressions(file: ManifestFile) -> Iterator[Suppression]:
    yield from find_suppressions(file.source)
    for manifest in file.manifests:
        text = manifest.known_text("metadata", "annotations", ANNOTATION)
        annotation = manifest.field("metadata", "annotations", ANNOTATION) if text else None
        if text and annotation is not None:
            yield from parse_annotation(text, file.source, annotation.value.span, manifest.node.span)


class _LineSpans:
    """The span of the key and value that start on a line, in the outer document or the inner one."""

    def __init__(self, file: ManifestFile) -> None:
        self._file = file

    def covered(self, line: int) -> Span:
        """Return the span that a suppression above a line covers: the key there and its value, else the line."""
        return self._spans.get(line, self._file.source.line_span(line))

    @cached_property
    def _spans(self) -> dict[int, Span]:
        source = self._file.source
        spans: dict[int, Span] = {}
        for node in (node for root in _roots(self._file) for node in walk(root)):
            for entry in node.entries if isinstance(node, Mapping) else ():
                end = max(entry.key.span.end, entry.value_span.end)
                line = source.position(entry.key.span.start).line
                spans.setdefault(line, Span(entry.key.span.start, end + 1))
        return spans


def _roots(file: ManifestFile) -> Iterator[Node]:
    for document in file.documents:
        if document.root is not None:
            yield document.root
    for manifest in file.manifests:
        for config in inner_configs(manifest) if manifest.is_config_map else ():
            if config.document_root is not None:
                yield config.document_root
