"""Where the cursor is, by lines and indentation alone: while somebody types, the YAML seldom parses.

The literal block of a ConfigMap's training config is indented below its key, so the inner keys follow the outer ones;
one that is a quoted scalar is read as the text that it holds.
"""

from __future__ import annotations

import re
from itertools import takewhile

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.language_server.flow_cursor import keys_after, open_frames
from kaitoc.compiler.language_server.quoted_text import QuotedText, quoted_text_at

_STEP = 2
_MOST_FLOW_LINES = 200
_MOST_CHARACTERS_AFTER = 2_000

_KEY_LINE = re.compile(
    r"""(?P<indent>[ ]*)(?P<dashes>(?:-[ ]+)*)(?P<key>[\w.$/-]+|"[^"]*"|'[^']*')[ ]*:(?=[ ]|$)(?P<rest>.*)"""
)
_ITEM_LINE = re.compile(r"(?P<indent>[ ]*)-(?:[ ]+(?P<rest>.*))?$")
_TYPED = re.compile(r"(?:[\w.$/][\w.$/-]*)?$")
_REST = re.compile(r"[\w.$/-]*")
_DOCUMENT_MARK = re.compile(r"(---|\.\.\.)(\s|$)")


@dataclass(frozen=True, slots=True)
class Cursor:
    """What is being typed.

    `path` are the keys around the cursor from the outermost; `in_value` says that the value of the last one is typed,
    which `in_list` when it is an element of a list. `indent` is the column at which the name or value begins and
    `wanted_indent` the one at which its siblings do. `span` covers what is typed of the name and the rest of it behind
    the cursor; `before` and `after` are the characters around that. `siblings` are the keys that are there already.
    `in_flow` says that `{` or `[` is open, `quoted` is the quoted scalar around the config.
    """

    path: tuple[str, ...]
    span: Span
    before: str
    after: str
    in_value: bool = False
    in_list: bool = False
    indent: int = 0
    wanted_indent: int = 0
    siblings: tuple[str, ...] = ()
    in_flow: bool = False
    quoted: QuotedText | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with a key; `opens` says that the value follows on the lines below."""

    indent: int
    key: str
    opens: bool


def cursor_at(source: Source, offset: int) -> Cursor | None:
    """Return the cursor at an offset, None in a comment and where the place is unclear."""
    first = _first_offset(source, offset)
    quoted = quoted_text_at(source.text[first:], offset - first)
    if quoted is None:
        return _plain_cursor(source, offset)
    inner = _plain_cursor(Source(source.path, quoted.before + quoted.after), len(quoted.before))
    if inner is None:
        return None
    shift = offset - len(quoted.before)
    span = Span(inner.span.start + shift, inner.span.end + shift)
    return replace(inner, path=(quoted.key, *inner.path), span=span, quoted=quoted)


def _first_offset(source: Source, offset: int) -> int:
    """Find the offset at which the YAML document around an offset begins."""
    number = source.position(offset).line
    while number > 1 and not _DOCUMENT_MARK.match(source.line_text(number)):
        number -= 1
    return source.line_starts[number - 1]


def _plain_cursor(source: Source, offset: int) -> Cursor | None:
    number = source.position(offset).line
    start = source.line_starts[number - 1]
    line = source.line_text(number)
    before, after = line[: offset - start], line[offset - start :]
    if before.lstrip().startswith("#") or " #" in before or "\t" in before:
        return None
    typed, suffix = _matched(_TYPED.search(before)), _matched(_REST.match(after))
    before, after = before[: len(before) - len(typed)], after[len(suffix) :]
    at = Cursor((), Span(offset - len(typed), offset + len(suffix)), before, after)
    flow = _flow_cursor(source, at, number)
    if flow is not None:
        return flow
    above = _key_lines(source, range(number - 1, 0, -1))
    keyed, item = _KEY_LINE.match(before), _ITEM_LINE.match(before)
    if keyed is not None:
        path = (*_names(_ancestors(above, _indent_of(keyed))), _name(keyed["key"]))
        return replace(at, path=path, in_value=True, in_list=keyed["rest"].lstrip().startswith("["))
    if item is not None:
        return replace(at, path=_names(_ancestors(above, len(item["indent"]) + 1)), in_value=True, in_list=True)
    if before.strip():
        return None
    return _at_key(at, above, _key_lines(source, range(number + 1, len(source.line_starts) + 1)))


def _flow_cursor(source: Source, at: Cursor, number: int) -> Cursor | None:
    """Return a cursor inside the flow collection that a line opens, this one or one above, None outside of one."""
    found = None
    for line in range(number, max(0, number - _MOST_FLOW_LINES), -1):
        text = source.line_text(line)
        if _DOCUMENT_MARK.match(text):
            break
        keyed = _KEY_LINE.match(text)
        opened = keyed["rest"].lstrip() if keyed is not None else text.lstrip()
        if not opened.startswith(("{", "[") if keyed is not None else "{"):
            continue
        start = source.line_starts[line - 1] + len(text) - len(opened)
        frames = open_frames(source.text[start : at.span.start]) if start < at.span.start else []
        if frames:
            found = line, keyed, start, frames
    if found is None:
        return None
    line, keyed, start, frames = found
    if line == number and all(frame.opener == "[" for frame in frames):
        return None  # read as the value of a line
    inside = frames[-1]
    names = [frame.key for frame in frames if frame.key is not None]
    indent = _indent_of(keyed) if keyed is not None else start - source.line_starts[line - 1]
    outer = _names(_ancestors(_key_lines(source, range(line - 1, 0, -1)), indent))
    path = (*outer, *([_name(keyed["key"])] if keyed is not None else []), *names)
    if inside.opener == "[" or inside.key is not None:
        before = source.text[start + inside.start : at.span.start]
        after = source.text[at.span.end :].partition("]")[0]
        return replace(at, path=path, in_value=True, in_list=inside.opener == "[", in_flow=True,
                       before=before, after=after)  # fmt: skip
    siblings = (*inside.keys, *keys_after(source.text[at.span.end : at.span.end + _MOST_CHARACTERS_AFTER]))
    return replace(at, path=path, in_flow=True, siblings=siblings)


def _at_key(at: Cursor, above: list[_Line], below: list[_Line]) -> Cursor:
    """Return a cursor at a key, with its siblings."""
    indent = len(at.before)
    ancestors = _ancestors(above, indent)
    parent_indent = ancestors[-1].indent if ancestors else -1
    beside = [*_children(above, parent_indent), *_children(below, parent_indent)]
    wanted = min((line.indent for line in beside), default=max(indent, parent_indent + _STEP))
    siblings = tuple(line.key for line in beside if line.indent == wanted)
    return replace(at, path=_names(ancestors), indent=indent, wanted_indent=wanted, siblings=siblings)


def _ancestors(above: list[_Line], indent: int) -> list[_Line]:
    """Return the lines above, nearest first, under which something of an indentation stands, from the outermost.

    A line that holds its whole value has nothing under it: what is indented more is meant to stand beside it.
    """
    lines: list[_Line] = []
    for line in above:
        if line.indent < indent:
            indent = line.indent
            if line.opens:
                lines.append(line)
    return lines[::-1]


def _children(lines: list[_Line], parent_indent: int) -> list[_Line]:
    """Return the lines, going away from the cursor, until one is not below the parent."""
    return list(takewhile(lambda line: line.indent > parent_indent, lines))


def _key_lines(source: Source, numbers: range) -> list[_Line]:
    """Return the lines with keys among the numbered ones, as far as the YAML document goes."""
    lines: list[_Line] = []
    for number in numbers:
        text = source.line_text(number)
        if _DOCUMENT_MARK.match(text):
            break
        match = _KEY_LINE.match(text)
        if match is not None:
            value = match["rest"].strip()
            lines.append(_Line(_indent_of(match), _name(match["key"]), not value or value[0] in "|>#&!"))
    return lines


def document_lines(source: Source, offset: int) -> list[str]:
    """Return the lines of the YAML document at an offset, without the marks around it."""
    number = source.position(offset).line
    first = last = number
    while first > 1 and not _DOCUMENT_MARK.match(source.line_text(first - 1)):
        first -= 1
    while last < len(source.line_starts) and not _DOCUMENT_MARK.match(source.line_text(last + 1)):
        last += 1
    return [source.line_text(line) for line in range(first, last + 1)]


def _matched(match: re.Match[str] | None) -> str:
    return match.group() if match is not None else ""


def _indent_of(line: re.Match[str]) -> int:
    return len(line["indent"]) + len(line["dashes"])


def _names(lines: list[_Line]) -> tuple[str, ...]:
    return tuple(line.key for line in lines)


def _name(written: str) -> str:
    return written.strip("\"'")
