"""Findings in what Helm or kustomize rendered, told at the files that it was rendered from.

Helm writes `# Source: CHART/templates/FILE` above each document; kustomize notes the file in an annotation when asked
to (`buildMetadata: [originAnnotations]`). A finding moves to that file when it is at hand: to the same text, where the
file's lines and the rendered ones can be brought into line, else to the closest line before it. When the file is not
at hand, the finding is told at its line of the rendered document, under the file's name.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from difflib import SequenceMatcher

from kaitoc.compiler.core.findings import Finding, Related
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, SourceError, Span
from kaitoc.compiler.manifest.objects import ManifestFile

_SOURCE_LINE = re.compile(r"^# Source: (?P<path>[^\r\n]+?)[ \t]*\r?$", re.MULTILINE)
_PATH_ANNOTATIONS = ("config.kubernetes.io/path", "internal.config.kubernetes.io/path")
_ORIGIN_ANNOTATION = "config.kubernetes.io/origin"
_ORIGIN_PATH = re.compile(r"^path: *(?P<path>\S.*?) *$", re.MULTILINE)
_ORIGIN_REPOSITORY = re.compile(r"^repo: *(?:\w+://)?(?P<address>\S.*?) *$", re.MULTILINE)
_KEY = re.compile(r"\s*(?:- )?[\"']?(?P<key>[\w.-]+)[\"']?\s*:")
_MAX_TEMPLATE_BYTES = 1_000_000
_MAX_ALIGNED_LINES = 5_000
"""Longer texts are not brought into line, which takes time with the product of their lengths."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """A stretch of rendered text and the file it comes from; `lines` maps its lines to the file's, None for none."""

    span: Span
    first_line: int
    source: Source
    lines: tuple[int | None, ...]

    def line_of(self, rendered_line: int) -> tuple[int, bool]:
        """Return the file's line for a line of the whole rendered text, and whether it is the same text."""
        index = min(rendered_line - self.first_line, len(self.lines) - 1)
        if index < 0:
            return 1, False
        template_line = self.lines[index]
        if template_line is not None:
            return template_line, True
        return next((line for line in reversed(self.lines[:index]) if line is not None), 1), False


def tell_origins(findings: Iterable[Finding], rendered: ManifestFile) -> list[Finding]:
    """Return findings with those in a rendered text moved to the files it comes from; these lose their fix.

    A fix changes rendered text, which nobody keeps.
    """
    origins = _origins(rendered)
    if not origins:
        return list(findings)
    return [_moved(finding, rendered.source, origins) for finding in findings]


def _moved(finding: Finding, rendered: Source, origins: list[_Origin]) -> Finding:
    related = tuple(_moved_related(related_finding, rendered, origins) for related_finding in finding.related)
    place = _place(finding.source, finding.span, rendered, origins)
    if place is None:
        return replace(finding, related=related)
    return replace(finding, source=place[0], span=place[1], related=related, fix=None)


def _moved_related(related: Related, rendered: Source, origins: list[_Origin]) -> Related:
    place = _place(related.source, related.span, rendered, origins)
    return related if place is None else replace(related, source=place[0], span=place[1])


def _place(source: Source, span: Span, rendered: Source, origins: list[_Origin]) -> tuple[Source, Span] | None:
    """Map a span of rendered text to its source file, None when no file is named for it."""
    index = bisect_right(origins, span.start, key=lambda origin: origin.span.start) - 1
    if source.path != rendered.path or index < 0 or span.start >= origins[index].span.end:
        return None
    origin = origins[index]
    start = rendered.position(span.start)
    line, is_same = origin.line_of(start.line)
    target = origin.source.line_span(min(line, len(origin.source.line_starts)))
    text = origin.source.slice(target)
    indent = len(text) - len(text.lstrip(" "))
    content_end = target.start + len(text.rstrip())
    if not is_same:
        return origin.source, Span(min(target.start + indent, content_end), content_end)
    rendered_line = rendered.line_text(start.line)
    rendered_indent = len(rendered_line) - len(rendered_line.lstrip(" "))
    moved = min(target.start + max(0, start.column - 1 - rendered_indent) + indent, content_end)
    return origin.source, Span(moved, min(max(moved, moved + span.end - span.start), content_end))


def _origins(rendered: ManifestFile) -> list[_Origin]:
    """Return the stretches of a rendered text whose file is named, in order."""
    named = {match.start(): match["path"] for match in _SOURCE_LINE.finditer(rendered.source.text)}
    commented = sorted(named)
    document_starts = [document.span.start for document in rendered.documents]
    for manifest in rendered.manifests:
        path = _annotated_path([manifest.written_text("metadata", "annotations", name) for name in _PATH_ANNOTATIONS],
                               manifest.written_text("metadata", "annotations", _ORIGIN_ANNOTATION))  # fmt: skip
        document_start = _last_before(document_starts, manifest.node.span.start, 0)
        if path and _last_before(commented, manifest.node.span.start, -1) < document_start:
            named.setdefault(document_start, path)
    bounds = sorted({*document_starts, *named, len(rendered.source.text)})
    files = {path: _read_beside(path) for path in set(named.values())}
    return [_origin(rendered.source, Span(start, bounds[bisect_right(bounds, start)]), named[start],
                    files[named[start]])
            for start in sorted(named)]  # fmt: skip


def _last_before(places: list[int], place: int, default: int) -> int:
    """Return the last of some places, in order, at or before another, `default` when there is none."""
    index = bisect_right(places, place)
    return places[index - 1] if index else default


def _annotated_path(paths: list[str], origin: str) -> str:
    return next((path for path in paths if path), _origin_path(origin))


def _origin_path(origin: str) -> str:
    """Return the path in kustomize's note; in another repository it begins with that, and is no file of this one."""
    path, repository = _ORIGIN_PATH.search(origin), _ORIGIN_REPOSITORY.search(origin)
    if path is None:
        return ""
    return path["path"] if repository is None else f"{repository['address'].removesuffix('.git')}/{path['path']}"


def _origin(rendered: Source, span: Span, path: str, template: Source | None) -> _Origin:
    text = rendered.slice(span)
    body = _SOURCE_LINE.sub("", text, count=1) if text.startswith("# Source: ") else text
    first_line = rendered.position(span.start).line
    lines = _line_texts(text)
    if template is None:
        # The line of the comment that names the file is none of the file's.
        is_named_above = body != text
        source = Source(path, text.partition("\n")[2] if is_named_above else text)
        numbers = range(len(lines)) if is_named_above else range(1, len(lines) + 1)
        return _Origin(span, first_line, source, tuple(number or None for number in numbers))
    return _Origin(span, first_line, template, _in_line(lines, _line_texts(template.text)))


def _line_texts(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def _read_beside(path: str) -> Source | None:
    """Return a template at hand: at its path, in this folder's chart, or in a chart one or two folders below."""
    parts = path.replace("\\", "/").split("/")
    if os.path.isabs(path) or os.pardir in parts:
        return None
    below = "/".join(parts[1:])
    candidates = [path, *([below] if _chart_name(".") == parts[0] else [])]
    candidates += [f"{folder}/{below}" for folder in _folders(2) if _chart_name(folder) == parts[0]]
    for candidate in candidates:
        if candidate and os.path.isfile(candidate) and os.path.getsize(candidate) <= _MAX_TEMPLATE_BYTES:
            try:
                return Source.read(candidate)
            except SourceError:
                return None
    return None


def _folders(depth: int, parent: str = "") -> list[str]:
    """Return the folders down to a depth, hidden ones left out, so that a chart beside the others is found."""
    try:
        here = sorted(entry.name for entry in os.scandir(parent or ".") if entry.is_dir() and entry.name[0] != ".")
    except OSError:
        return []
    folders = [f"{parent}/{name}" if parent else name for name in here]
    return folders if depth == 1 else [*folders, *(deep for folder in folders for deep in _folders(depth - 1, folder))]


def _chart_name(folder: str) -> str:
    """Return the name that a folder's `Chart.yaml` gives, empty when there is none."""
    try:
        with open(os.path.join(folder, "Chart.yaml"), encoding="utf-8") as stream:
            match = re.search(r"^name: *[\"']?(?P<name>[\w.-]+)", stream.read(_MAX_TEMPLATE_BYTES), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return ""
    return match["name"] if match is not None else ""


def _in_line(rendered: list[str], template: list[str]) -> tuple[int | None, ...]:
    """Return for each rendered line the template's line of the same text, in order, else that of the same key."""
    lines: list[int | None] = [None] * len(rendered)
    if max(len(rendered), len(template)) > _MAX_ALIGNED_LINES:
        return tuple(lines)
    for tag, start, end, other_start, other_end in SequenceMatcher(None, rendered, template, False).get_opcodes():
        if tag == "equal":
            for offset in range(end - start):
                lines[start + offset] = other_start + offset + 1
        elif tag == "replace":
            keys = {key: number for number in range(other_start, other_end) if (key := _key(template[number]))}
            for number in range(start, end):
                line = keys.get(_key(rendered[number]))
                lines[number] = line + 1 if line is not None else None
    return tuple(lines)


def _key(line: str) -> str:
    match = _KEY.match(line)
    return match["key"] if match is not None else ""
