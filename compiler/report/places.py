"""Where findings are, as other tools name it: paths from the working folder with forward slashes, and stable keys."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.source import Position, Source, Span


def relative_path(path: str) -> str:
    """Return a path below the working folder relative to it, any other as it is; always with forward slashes."""
    if os.path.isabs(path):
        try:
            inside = os.path.relpath(path)
        except ValueError:  # another drive on Windows
            inside = os.pardir
        path = path if inside.startswith(os.pardir) else inside
    return os.path.normpath(path).replace(os.sep, "/")


def positions(source: Source, span: Span) -> tuple[Position, Position]:
    """Return the start and the end of a span as lines and columns; the end is exclusive."""
    return source.position(span.start), source.position(span.end)


def last_line(source: Source, span: Span) -> int:
    """Return the line of the last character that a span covers."""
    return source.position(max(span.start, span.end - 1)).line


def fingerprints(findings: Sequence[Finding]) -> list[str]:
    """Return a key for each finding that is unique in the list and survives moved lines.

    It hashes path, code, object, pointer and the how-manieth such finding it is.
    """
    from hashlib import sha256

    counts: Counter[tuple[str, ...]] = Counter()
    keys = []
    for finding in findings:
        owner = finding.object
        names = (owner.kind, owner.namespace, owner.name) if owner else ("", "", "")
        identity = (relative_path(finding.source.path), finding.code, *names, finding.pointer)
        text = "\0".join((*identity, str(counts[identity])))
        counts[identity] += 1
        keys.append(sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    return keys
