"""The order of a file's documents: which ConfigMap comes after the Workspace that names it, and how to move it up.

`kubectl apply -f` creates objects in the order of the file, and Kaito's webhook refuses a Workspace whose ConfigMap
does not exist. A move takes whole documents and the `---` that goes with them: every byte stays, in another place.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.serving_objects import config_names

# Compiled where they are used: most files have nothing to move.
_MARKER = r"(?m)^---(?=[ \t\r\n]|\Z)[^\r\n]*(?:\r\n|\r|\n|\Z)"
_BARE_MARKER = r"---[ \t]*(?:\r\n|\r|\n)"
_HEADER = r"(?:#[^\r\n]*(?:\r\n|\r|\n))+(?:[ \t]*(?:\r\n|\r|\n))+"
_NOT_MOVABLE = r"(?m)^(?:\.\.\.|%|sops:)"
"""Directives and document ends bind documents to their place, and sops has a checksum over all of them."""


@dataclass(frozen=True, slots=True)
class LateConfigMap:
    """A Workspace and the ConfigMap that it names further down in the same file."""

    workspace: Manifest
    config_map: Manifest


def late_config_maps(file: ManifestFile) -> Iterator[LateConfigMap]:
    """Yield the Workspaces of a file that come before every ConfigMap of the name they give."""
    for number, workspace in enumerate(file.manifests):
        for name in config_names(workspace) if workspace.is_workspace else ():
            named = [
                (other, config_map)
                for other, config_map in enumerate(file.manifests)
                if config_map.is_config_map
                and (config_map.ref.name, config_map.ref.namespace) == (name, workspace.ref.namespace)
            ]
            if named and named[0][0] > number:
                yield LateConfigMap(workspace, named[0][1])


def move_up(late: LateConfigMap, file: ManifestFile) -> tuple[Edit, ...]:
    """Return the edits that put a ConfigMap's document before the first Workspace that names it.

    There are none where a document cannot be moved as it stands, such as an item of a List.
    """
    source = file.source
    users = [one.workspace for one in late_config_maps(file) if one.config_map is late.config_map]
    if late.config_map.pointer or any(user.pointer for user in users) or re.search(_NOT_MOVABLE, source.text):
        return ()
    starts = document_starts(source)
    target = _index(starts, users[0])
    moved = _index(starts, late.config_map)
    end = starts[moved + 1] if moved + 1 < len(starts) else len(source.text)
    marker = re.compile(_MARKER).match(source.text, starts[moved])
    if marker is None or moved == target:
        return ()
    start, content = starts[moved], marker.end()
    lacks_break = not source.text[start:end].endswith(("\n", "\r"))
    break_start = _start_of_break(source.text, start) if lacks_break else start
    if re.compile(_MARKER).match(source.text, starts[target]) is not None:
        place = starts[target]
        pieces = [Span(start, end), Span(break_start, start)]
    else:
        if re.fullmatch(_BARE_MARKER, marker[0]) is None:
            return ()
        place = start_of_first_document(source)
        pieces = [Span(content, end), Span(break_start, start), Span(start, content)]
    pieces = [piece for piece in pieces if piece.end > piece.start]
    insertions = [Edit(source, Span(place, place), source.slice(piece)) for piece in pieces]
    return (*insertions, *(Edit(source, piece, "") for piece in sorted(pieces)))


def document_starts(source: Source) -> list[int]:
    """List the offsets at which documents begin: their `---`, or 0 for a first document without one."""
    starts = [found.start() for found in re.finditer(_MARKER, source.text)]
    return starts if starts[:1] == [0] else [0, *starts]


def start_of_first_document(source: Source) -> int:
    """Find the offset for a document inserted first: after a comment on the whole file."""
    header = re.match(_HEADER, source.text)
    # A suppression on a line of its own covers the key below it.
    return header.end() if header is not None and "kaitoc:" not in header[0] else 0


def _index(starts: list[int], manifest: Manifest) -> int:
    return bisect_right(starts, manifest.node.span.start) - 1


def _start_of_break(text: str, end: int) -> int:
    """Find the start of the line break before an offset."""
    return end - 2 if text[max(0, end - 2) : end] == "\r\n" else max(0, end - 1)
