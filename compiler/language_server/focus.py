"""What a question about one place needs of long documents and large folders: the object there and its partners.

A hover must not wait until thousands of objects are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lsprotocol import types

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.language_server.documents import OpenDocument
from kaitoc.compiler.language_server.positions import PositionMap
from kaitoc.compiler.manifest.kustomization import unhashed_name

LONG_CHARACTERS = 50_000
"""Shorter documents are read as a whole."""
_MARK = "\n---"
_METADATA = re.compile(r"^metadata:(?P<flow>.*)\n(?P<lines>(?:[ \t].*\n|[ \t]*(?:#.*)?\n)*)", re.MULTILINE)
_NAME = re.compile(r"\bname:\s*[\"']?([\w.-]+)")
_INDENTED_NAME = re.compile(r"^([ ]+)name:\s*[\"']?([\w.-]+)", re.MULTILINE)
_CONFIG = re.compile(r"\bconfig:\s*[\"']?([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Focus:
    """A place in a document that holds no more than matters there, and the documents beside it, narrowed alike.

    `names` are those by which the object at the place and its partners know each other, empty where they are unknown;
    `num_lines_before` is how many lines of the whole document come before the narrowed one.
    """

    document: OpenDocument
    offset: int
    beside: tuple[OpenDocument, ...]
    names: tuple[str, ...]
    num_lines_before: int = 0

    def whole(self, shown: types.Range) -> types.Range:
        """Return a range of the narrowed document as one of the whole."""
        start, end = shown.start, shown.end
        return types.Range(
            types.Position(start.line + self.num_lines_before, start.character),
            types.Position(end.line + self.num_lines_before, end.character),
        )


def focus_at(document: OpenDocument, offset: int, beside: tuple[OpenDocument, ...]) -> Focus:
    """Narrow a document, which is among those `beside`, to the objects that matter at an offset."""
    text = document.source.text
    here = _around(text, offset)
    names = _names_in(text[here.start : here.end])
    if not names:
        return Focus(document, offset, beside, ())
    others = tuple(_narrowed(other, names) for other in beside if other is not document)
    if len(text) < LONG_CHARACTERS:
        return Focus(document, offset, (document, *others), names)
    partners = [span for span in _mentioning(text, names) if span.start != here.start]
    narrowed = _with_documents(document, [here, *partners])
    return Focus(narrowed, offset - here.start, (narrowed, *others), names, text.count("\n", 0, here.start))


def _narrowed(document: OpenDocument, names: tuple[str, ...]) -> OpenDocument:
    text = document.source.text
    return document if len(text) < LONG_CHARACTERS else _with_documents(document, list(_mentioning(text, names)))


def _with_documents(document: OpenDocument, spans: list[Span]) -> OpenDocument:
    """Return a document that holds some YAML documents of another, in this order."""
    source = document.source
    text = "---\n".join(source.text[span.start : span.end] for span in spans)
    has_bom = source.has_bom and spans[:1] == [span for span in spans if not span.start]
    return replace(document, positions=PositionMap(Source(source.path, text, has_bom), document.positions.encoding))


def _mentioning(text: str, names: tuple[str, ...]) -> Iterator[Span]:
    """Yield the YAML documents that mention one of the names, without the marks between them.

    A name that only begins with one is another's, unless kustomize appended a hash.
    """
    mention = re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, names))})[\w.-]*")
    found = mention.search(text)
    while found is not None:
        end = found.end()
        if found[0] in names or unhashed_name(found[0]) in names:
            span = _around(text, found.start())
            yield span
            end = max(span.end, end)
        found = mention.search(text, end)


def _around(text: str, offset: int) -> Span:
    """Return the YAML document at an offset, from the line after its mark."""
    mark, end = text.rfind(_MARK, 0, offset), text.find(_MARK, offset)
    while mark >= 0 and not _is_mark(text, mark):
        mark = text.rfind(_MARK, 0, mark)
    while end >= 0 and not _is_mark(text, end):
        end = text.find(_MARK, end + 1)
    start = 0 if mark < 0 else min(offset, text.find("\n", mark + 1) + 1 or len(text))
    return Span(start, end + 1 if end >= 0 else len(text))


def _is_mark(text: str, place: int) -> bool:
    """Return whether what begins there ends one YAML document and begins the next."""
    return text[place + len(_MARK) : place + len(_MARK) + 1].strip() == ""


def _names_in(text: str) -> tuple[str, ...]:
    """Find an object's name and the config it names in its text, which seldom parses while somebody types."""
    written = [*_own_names(text), *_CONFIG.findall(text)]
    return tuple(dict.fromkeys(name for one in written for name in (one, unhashed_name(one)) if name))


def _own_names(text: str) -> list[str]:
    metadata = _METADATA.search(text)
    if metadata is None:
        return []
    indented = sorted(_INDENTED_NAME.findall(metadata["lines"]), key=lambda found: len(found[0]))
    return [*_NAME.findall(metadata["flow"]), *(name for _, name in indented[:1])]
