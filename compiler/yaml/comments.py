"""Where a `#` in a YAML text cannot start a comment: inside quoted scalars."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from kaitoc.compiler.core.source import Span

# Each bound keeps the scan below about a second; an object in Kubernetes holds at most 1 MiB (etcd's request limit).
MAX_SCANNED_CHARACTERS = 1_000_000
MAX_SCAN_STEPS = 200_000_000


def quoted_spans(text: str, end: int) -> list[Span]:
    """Return the sorted spans of quoted scalars that start before `end`, also those of YAML inside block scalars.

    Where the text stops being YAML, so does the list. A text that would take too long to scan has none: there a
    `#` in quotes counts as a comment, which no manifest of a sane size notices.
    """
    if "'" not in text and '"' not in text:
        return []
    # libyaml looks at every open flow collection for every token, so deep nesting costs quadratic time.
    num_collections = text.count("[") + text.count("{")
    if len(text) > MAX_SCANNED_CHARACTERS or num_collections * len(text) > MAX_SCAN_STEPS:
        return []
    return list(takewhile(lambda span: span.start < end, _quoted(text, 0, True)))


def _quoted(text: str, offset: int, enter_blocks: bool) -> Iterator[Span]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for item in yaml.scan(text, Loader=loader):
            if not isinstance(item, yaml.ScalarToken):
                continue
            start, end = item.start_mark.index, item.end_mark.index
            if item.style in ("'", '"'):
                yield Span(offset + start, offset + end)
            elif item.style in ("|", ">") and enter_blocks:
                header_end = text.find("\n", start, end) + 1
                yield from _quoted(text[header_end:end], offset + header_end, False)
    except yaml.YAMLError:
        return
