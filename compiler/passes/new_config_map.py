"""A ConfigMap that an object of the user's shall use and that no file holds yet: its name, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, count

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.source import Span
from kaitoc.compiler.manifest.document_order import document_starts, start_of_first_document
from kaitoc.compiler.manifest.objects import Manifest

SUFFIX = "-params"

_MAX_NAME_LENGTH = 253


def free_name(owner: Manifest, has_config_map: Callable[[str, Manifest], bool]) -> str:
    """Return the owner's name with a suffix, and a number where that name is taken."""
    stem = f"{owner.ref.name[: _MAX_NAME_LENGTH - 2 * len(SUFFIX)]}{SUFFIX}"
    numbered = (f"{stem}-{number}" for number in count(2))
    return next(name for name in chain([stem], numbered) if not has_config_map(name, owner))


def new_document(owner: Manifest, document: str) -> Edit:
    """Return the edit that puts a document where it is created before its owner, with the `---` that goes with it."""
    source = owner.source
    start = [start for start in document_starts(source) if start <= owner.node.span.start][-1]
    has_marker = source.text.startswith("---", start)
    place = start if has_marker else start_of_first_document(source)
    text = f"---\n{document}" if has_marker else f"{document}---\n"
    return Edit(source, Span(place, place), text.replace("\n", source.newline))
