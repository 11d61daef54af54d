"""Reviewdog's diagnostic format, rdjson.

Source: reviewdog, proto/rdf/reviewdog.proto: lines and columns are 1-based, columns count UTF-8 bytes, and the end of
a range is exclusive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kaitoc.compiler.check.rule_info import HOME_URL, rule_url
from kaitoc.compiler.core.findings import Finding, Related, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.json_pieces import filled, item, joined
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import relative_path
from kaitoc.compiler.report.wording import can_apply, message_of

_SEVERITIES = {Severity.ERROR: "ERROR", Severity.WARNING: "WARNING", Severity.INFO: "INFO"}

_Json = dict[str, Any]


def of_file(_path: str, findings: Sequence[Finding], _options: FormatOptions) -> str:
    """Return a file's findings as items of the diagnostics."""
    return joined(item(_diagnostic(finding), 2) for finding in findings)


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(_frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield one DiagnosticResult object."""
    skeleton = json.dumps({"source": {"name": "kaitoc", "url": HOME_URL}, "diagnostics": []}, indent=2)
    return filled(skeleton, [('"diagnostics": ', 2, files)])


def _diagnostic(finding: Finding) -> _Json:
    diagnostic: _Json = {
        "message": f"{message_of(finding)}\n{finding.help}" if finding.help else message_of(finding),
        "location": _location(finding.source, finding.span),
        "severity": _SEVERITIES[finding.severity],
        "code": {"value": finding.code, "url": rule_url(finding.code)},
    }
    if finding.related:
        diagnostic["related_locations"] = [_related(place) for place in finding.related]
    suggestions = _suggestions(finding)
    if suggestions:
        diagnostic["suggestions"] = suggestions
    return diagnostic


def _related(place: Related) -> _Json:
    return {"message": place.message, "location": _location(place.source, place.span)}


def _suggestions(finding: Finding) -> list[_Json]:
    """Return the fix as suggestions; they have no path, so a fix that reaches into another file has none."""
    fix = finding.fix
    if fix is None or not can_apply(finding):
        return []
    if any(edit.source is not finding.source for edit in fix.edits):
        return []
    return [{"range": _range(edit.source, edit.span), "text": edit.replacement} for edit in fix.edits]


def _location(source: Source, span: Span) -> _Json:
    return {"path": relative_path(source.path), "range": _range(source, span)}


def _range(source: Source, span: Span) -> _Json:
    return {"start": _position(source, span.start), "end": _position(source, span.end)}


def _position(source: Source, offset: int) -> _Json:
    place = source.position(offset)
    before = source.text[offset - place.column + 1 : offset]
    return {"line": place.line, "column": len(before.encode("utf-8")) + 1}
