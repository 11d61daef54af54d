"""Suppressions: comments and annotations that say which findings are meant to be there.

`# kaitoc: ignore[KT402] reason` at the end of a line covers findings that start on that line; on a line of its own it
covers the next key and its whole value. `# kaitoc: ignore-file[KT402]` covers its file. All of them work in the outer
YAML and in YAML inside a block scalar. The annotation `kaitoc.dev/ignore: "KT402 reason; KT501 reason"` covers its
object. A rule is named by its code or its name. What suppresses nothing is a finding itself.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from heapq import heappop, heappush

from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix, Severity
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.yaml.comments import quoted_spans

CODE = "KT109"
NAME = "unused-suppression"
ANNOTATION = "kaitoc.dev/ignore"

_MARKER = "kaitoc:"
# A comment starts after white space, and ends where another one starts.
_COMMENT = re.compile(
    r"(?<!\S)\#+[ \t]*kaitoc:[ \t]*(?P<verb>ignore-file|ignore)(?![\w-])"
    r"(?:\[(?P<codes>[^\]\r\n]*)\])?(?P<reason>(?:(?![ \t]\#)[^\r\n])*)"
)

CoveredSpan = Callable[[int], Span]
"""Returns the span of the key and value that start on a 1-based line."""


class Scope(str, Enum):
    """How far a suppression reaches."""

    LINE = "line"
    KEY = "key"
    FILE = "file"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Suppression:
    """One comment, or one item of the annotation.

    `span` is where it stands and `codes` are the codes or names it gives. Findings that start within `covered` are
    meant; for the scope KEY that is the line of the key, which stands for the key and its value.
    """

    source: Source
    span: Span
    scope: Scope
    codes: tuple[str, ...]
    reason: str
    covered: Span


@dataclass(frozen=True, slots=True)
class SuppressedFindings:
    """Findings after suppression.

    `refused` are those among `kept` that a suppression names but may not suppress; `unused` are findings about
    suppressions without effect.
    """

    kept: tuple[Finding, ...]
    suppressed: tuple[Finding, ...] = ()
    refused: tuple[Finding, ...] = ()
    unused: tuple[Finding, ...] = ()


def find_suppressions(source: Source) -> tuple[Suppression, ...]:
    """Return the suppressions that the comments of a file hold, in order."""
    if _MARKER not in source.text:
        return ()
    matches = list(_COMMENT.finditer(source.text))
    if not matches:
        return ()
    quoted = quoted_spans(source.text, matches[-1].end())
    comments = [match for match in matches if not _is_inside(quoted, match.start())]
    next_keys: dict[int, int] = {}
    suppressions = [_from_comment(source, match, next_keys) for match in reversed(comments)]
    return tuple(reversed(suppressions))


def parse_annotation(value: str, source: Source, span: Span, covered: Span) -> tuple[Suppression, ...]:
    """Return the suppressions of the annotation's value, which stands at `span`, for the object at `covered`."""
    suppressions = []
    for item in value.split(";"):
        codes, _, reason = item.strip().partition(" ")
        if codes:
            suppressions.append(Suppression(source, span, Scope.OBJECT, _split_codes(codes), reason.strip(), covered))
    return tuple(suppressions)


def apply_suppressions(
    findings: Iterable[Finding],
    suppressions: Sequence[Suppression],
    covered_span: CoveredSpan,
    *,
    refuse_errors: bool = False,
    not_run: frozenset[str] = frozenset(),
) -> SuppressedFindings:
    """Split the findings of one file by what its suppressions say.

    With `refuse_errors` an error stays whatever suppresses it. `not_run` holds codes and names of rules that did not
    run, so that nothing can be said about suppressions of theirs.
    """
    findings = tuple(findings)
    if not suppressions:
        return SuppressedFindings(findings)
    covers = _Covers(suppressions, covered_span)
    matched = covers.matched(findings)
    refused = {finding for finding in matched if refuse_errors and finding.severity is Severity.ERROR}
    suppressed = matched - refused
    return SuppressedFindings(
        kept=tuple(finding for finding in findings if finding not in suppressed),
        suppressed=tuple(finding for finding in findings if finding in suppressed),
        refused=tuple(finding for finding in findings if finding in refused),
        unused=_unused(suppressions, covers, not_run),
    )


class _Covers:
    """Which suppressions cover which findings, and which of their codes were of use."""

    def __init__(self, suppressions: Sequence[Suppression], covered_span: CoveredSpan) -> None:
        self.used: set[tuple[int, str]] = set()
        self._by_code: dict[str, list[tuple[Span, int]]] = {}
        for index, suppression in enumerate(suppressions):
            covered = _covered(suppression, covered_span)
            for code in suppression.codes:
                self._by_code.setdefault(code, []).append((covered, index))

    def matched(self, findings: Iterable[Finding]) -> set[Finding]:
        """Return the findings that are covered; the suppression that ends first is the one of use."""
        by_code: dict[str, list[Finding]] = {}
        for finding in findings:
            for code in {finding.code, finding.name} & self._by_code.keys():
                by_code.setdefault(code, []).append(finding)
        return {finding for code, named in by_code.items() for finding in self._sweep(code, named)}

    def _sweep(self, code: str, findings: list[Finding]) -> Iterator[Finding]:
        waiting = sorted(self._by_code[code], reverse=True)
        open_until: list[tuple[int, int]] = []
        for finding in sorted(findings, key=lambda finding: finding.span.start):
            start = finding.span.start
            while waiting and waiting[-1][0].start <= start:
                covered, index = waiting.pop()
                heappush(open_until, (covered.end, index))
            while open_until and open_until[0][0] <= start:
                heappop(open_until)
            if open_until:
                self.used.add((open_until[0][1], code))
                yield finding


def _unused(suppressions: Sequence[Suppression], covers: _Covers, not_run: frozenset[str]) -> tuple[Finding, ...]:
    """Return findings about suppressions of no use, less those that are suppressed in turn."""
    about_others = [
        _unused_finding(suppression, unused)
        for suppression, unused in _unused_codes(suppressions, covers, not_run | {CODE, NAME})
    ]
    accepted = covers.matched(about_others)
    about_itself = [
        _unused_finding(suppression, unused)
        for suppression, unused in _unused_codes(suppressions, covers, not_run)
        if {CODE, NAME}.intersection(unused)
    ]
    return tuple(finding for finding in (*about_others, *about_itself) if finding not in accepted)


def _unused_codes(
    suppressions: Sequence[Suppression], covers: _Covers, exempt: frozenset[str]
) -> Iterator[tuple[Suppression, tuple[str, ...]]]:
    for index, suppression in enumerate(suppressions):
        codes = dict.fromkeys(suppression.codes)
        unused = tuple(code for code in codes if code not in exempt and (index, code) not in covers.used)
        if unused or not suppression.codes:
            yield suppression, unused


def _unused_finding(suppression: Suppression, unused: tuple[str, ...]) -> Finding:
    if unused:
        names = ", ".join(f"`{code}`" for code in unused)
        message = f"nothing to ignore here: {names} is not reported where this suppression applies"
    else:
        message = "this suppression names no rule and ignores nothing: write `ignore[CODE] reason`"
    return Finding(
        code=CODE,
        name=NAME,
        severity=Severity.WARNING,
        message=message,
        source=suppression.source,
        span=suppression.span,
        fix=None if suppression.scope is Scope.OBJECT else _removal(suppression, unused),
    )


def _removal(suppression: Suppression, unused: tuple[str, ...]) -> Fix:
    """Return the fix that takes codes out of a comment, and the comment with the last of them."""
    source, span = suppression.source, suppression.span
    used = [code for code in suppression.codes if code not in unused]
    if used:
        comment = re.sub(r"\[[^\]]*\]", lambda _: f"[{', '.join(used)}]", source.slice(span), count=1)
        return Fix("Remove the unused code", Applicability.SAFE, (Edit(source, span, comment),))
    return Fix("Remove the unused suppression", Applicability.SAFE, (Edit(source, _whole_comment(source, span), ""),))


def _whole_comment(source: Source, span: Span) -> Span:
    """Return a comment's span with the white space before it, with its line if it is alone there."""
    line = source.line_span(source.position(span.start).line)
    before = source.text[line.start : span.start]
    after = source.text[span.end : line.end]
    if after.strip():
        return Span(span.start, span.end + len(after) - len(after.lstrip(" \t")))
    if not before.strip():
        return line
    return Span(line.start + len(before.rstrip(" \t")), line.end - len(after) + len(after.rstrip("\r\n")))


def _from_comment(source: Source, match: re.Match[str], next_keys: dict[int, int]) -> Suppression:
    """Return the suppression of one comment; `next_keys` remembers the key's line of comments further down."""
    span = Span(match.start(), match.start() + len(match.group().rstrip()))
    codes = _split_codes(match["codes"] or "")
    line = source.position(span.start).line
    if match["verb"] == "ignore-file":
        scope, covered = Scope.FILE, Span(0, len(source.text) + 1)
    elif source.text[source.line_span(line).start : span.start].strip():
        scope, covered = Scope.LINE, source.line_span(line)
    else:
        next_keys[line] = _next_key_line(source, line, next_keys)
        scope, covered = Scope.KEY, source.line_span(next_keys[line])
    return Suppression(source, span, scope, codes, match["reason"].strip(), covered)


def _next_key_line(source: Source, line: int, next_keys: dict[int, int]) -> int:
    """Return the first line below that is neither blank nor a comment, the line itself if there is none."""
    for below in range(line + 1, len(source.line_starts) + 1):
        if below in next_keys:
            return next_keys[below]
        text = source.line_text(below).strip()
        if text and not text.startswith("#"):
            return below
    return line


def _covered(suppression: Suppression, covered_span: CoveredSpan) -> Span:
    if suppression.scope is not Scope.KEY:
        return suppression.covered
    return covered_span(suppression.source.position(suppression.covered.start).line)


def _split_codes(text: str) -> tuple[str, ...]:
    return tuple(code for code in (part.strip() for part in text.split(",")) if code)


def _is_inside(spans: list[Span], offset: int) -> bool:
    """Return whether an offset lies in one of the spans, which are sorted and disjoint."""
    index = bisect_right(spans, offset, key=lambda span: span.start)
    return index > 0 and offset < spans[index - 1].end
