"""Edits as values: choose the fixes that can go together, apply them to a text, show the difference."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.core.tuples import NamedTuple


class OverlapError(ValueError):
    """Two edits change the same characters, so no order of applying them is right."""


class FixSelection(NamedTuple):
    """Findings whose fixes can be applied together, and findings whose allowed fixes must wait for another run."""

    chosen: tuple[Finding, ...]
    skipped: tuple[Finding, ...]


def apply_edits(source: Source, edits: Iterable[Edit]) -> str:
    """Return the text of `source` with the edits applied; every character outside their spans stays.

    Insertions at one offset appear in the order given, before a replacement that starts there. Raises
    `OverlapError` when two edits overlap, and `ValueError` when an edit belongs to another source or
    lies outside the text.
    """
    pieces: list[str] = []
    offset = 0
    for edit in sorted(edits, key=lambda edit: edit.span):
        if edit.source is not source:
            raise ValueError(f"an edit of {edit.source.path} cannot be applied to {source.path}")
        if not 0 <= edit.span.start <= edit.span.end <= len(source.text):
            raise ValueError(f"{source.path}: the edit's span {tuple(edit.span)} lies outside the text")
        if edit.span.start < offset:
            raise OverlapError(f"{source.path}: two edits overlap at offset {edit.span.start}")
        pieces += (source.text[offset : edit.span.start], edit.replacement)
        offset = edit.span.end
    pieces.append(source.text[offset:])
    return "".join(pieces)


def select_fixes(findings: Iterable[Finding], allow: Applicability) -> FixSelection:
    """Choose fixes that do not touch each other, in the order of the findings' places.

    `allow` is the least certain applicability to take: safe takes safe fixes, unsafe takes those as well; fixes for
    display are never taken. A fix is taken whole or not at all. A fix equal to one already taken counts as
    chosen: `collect_edits` applies it once.
    """
    allowed = {Applicability.SAFE} if allow is Applicability.SAFE else {Applicability.SAFE, Applicability.UNSAFE}
    taken: dict[Source, list[Span]] = {}
    seen: set[tuple[Edit, ...]] = set()
    chosen = []
    skipped = []
    for finding, fix in _in_order(findings):
        if fix.applicability not in allowed:
            continue
        if fix.edits not in seen:
            if _conflicts(fix, taken):
                skipped.append(finding)
                continue
            seen.add(fix.edits)
            for edit in fix.edits:
                insort(taken.setdefault(edit.source, []), edit.span)
        chosen.append(finding)
    return FixSelection(tuple(chosen), tuple(skipped))


def collect_edits(findings: Iterable[Finding]) -> dict[Source, tuple[Edit, ...]]:
    """Return the edits of the findings' fixes by source; a fix that several findings share counts once."""
    edits: dict[Source, list[Edit]] = {}
    seen: set[tuple[Edit, ...]] = set()
    for finding in findings:
        if finding.fix is None or finding.fix.edits in seen:
            continue
        seen.add(finding.fix.edits)
        for edit in finding.fix.edits:
            edits.setdefault(edit.source, []).append(edit)
    return {source: tuple(source_edits) for source, source_edits in edits.items()}


def unified_diff(source: Source, new_text: str) -> str:
    """Return the change from the source's text to `new_text` as a unified diff, empty when there is none."""
    from difflib import unified_diff as diff_lines

    lines = []
    for line in diff_lines(_lines(source.text), _lines(new_text), source.path, source.path):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def _lines(text: str) -> list[str]:
    """Split after every LF, the only line break that patch tools know."""
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _in_order(findings: Iterable[Finding]) -> list[tuple[Finding, Fix]]:
    """Return the findings that have a fix by place; of equal ones, what their fixes write decides."""
    fixable = [(finding, finding.fix) for finding in findings if finding.fix]
    return sorted(
        fixable,
        key=lambda pair: (
            pair[0].sort_key,
            [(edit.source.path, edit.span, edit.replacement) for edit in pair[1].edits],
        ),
    )


def _conflicts(fix: Fix, taken: dict[Source, list[Span]]) -> bool:
    return any(_touches(edit.span, taken.get(edit.source, [])) for edit in fix.edits)


def _touches(span: Span, taken: list[Span]) -> bool:
    """Return whether a span overlaps one of the sorted, disjoint spans, or inserts where one of them inserts."""
    index = bisect_left(taken, span)
    if index < len(taken) and (taken[index].start < span.end or taken[index] == span):
        return True
    return index > 0 and taken[index - 1].end > span.start
