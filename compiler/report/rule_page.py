"""A rule's page as `kaitoc explain` shows it: without the marks that its test reads, and set for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.core.folding import wrapped

MOST_COLUMNS = 100
"""Longer lines of prose are hard to read, however wide the terminal is."""
_MARK = re.compile(r"[ \t]*# (error|warning|info): \[KT\d+\]$", re.MULTILINE)
_FENCE = re.compile(r"^```yaml[ ]?(?P<words>.*)$")
_ITEM = re.compile(r"(- |\d+\. )")
_WHOLE = ("#", "|", ">")


def readable_page(page: str, num_columns: int | None = None) -> str:
    """Return a page in Markdown with a line above an example for what it holds.

    For a terminal of `num_columns` its paragraphs are filled and its examples are indented instead of fenced.
    """
    lines = list(_with_captions(_MARK.sub("", page).rstrip().split("\n")))
    if num_columns is None:
        return "\n".join(lines)
    return "\n".join(_set(lines, min(num_columns, MOST_COLUMNS))).rstrip()


def _with_captions(lines: list[str]) -> Iterator[str]:
    for line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            yield line
            continue
        if fence["words"]:
            yield _caption(fence["words"].split())
            yield ""
        yield "```yaml"


def _caption(words: list[str]) -> str:
    """Describe the words after the language of a code fence."""
    options = [f"--{word.replace('=', ' ')}" for word in words if "=" in word]
    parts = [f"With `{' '.join(options)}`"] if options else []
    if "after-fix" in words:
        parts.append("after `--fix`" if options else "After `--fix`")
    if "update" in words:
        parts.append("as updated" if options else "Updated")
    return f"{', '.join(parts)}:"


def _set(lines: list[str], num_columns: int) -> Iterator[str]:
    """Yield lines with paragraphs and items filled, and code indented."""
    paragraph: list[str] = []
    is_code = False
    for line in [*lines, ""]:
        starts_anew = is_code or not line or line.startswith(("```", *_WHOLE)) or _ITEM.match(line)
        if starts_anew and paragraph:
            yield from _filled(paragraph, num_columns)
            paragraph = []
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            yield f"    {line}".rstrip()
        elif not line or line.startswith(_WHOLE):
            yield line
        else:
            paragraph.append(line.strip())


def _filled(paragraph: list[str], num_columns: int) -> list[str]:
    item = _ITEM.match(paragraph[0])
    return wrapped(" ".join(paragraph), num_columns, item.end() if item else 0)
