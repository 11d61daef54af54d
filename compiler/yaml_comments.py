"""Where a `#` in a YAML text cannot start a comment: inside quoted scalars."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.source import Span


def quoted_spans(text: str, end: int) -> list[Span]:
    """Return the sorted spans of quoted scalars that start before `end`, also those of YAML inside block scalars.

    Where the text stops being YAML, so does the list.
    """
    if "'" not in text and '"' not in text:
        return []
    return [span for span in _quoted(text, 0, True) if span.start < end]


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
