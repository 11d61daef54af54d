"""SARIF 2.1.0 (OASIS Standard, 27 March 2020) for code scanning services and IDEs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from kaitoc.compiler import __version__
from kaitoc.compiler.check.rule_info import HOME_URL, RuleInfo
from kaitoc.compiler.core.findings import Edit, Finding, Fix, Related, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.json_pieces import filled, item, joined
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import fingerprints, positions, relative_path
from kaitoc.compiler.report.wording import can_apply, message_of

_SCHEMA_URL = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}

_Json = dict[str, Any]


def of_file(_path: str, findings: Sequence[Finding], options: FormatOptions) -> str:
    """Return a file's findings as items of the results."""
    return joined(
        item(_result(finding, options.rule_indexes[finding.code], key), 4)
        for finding, key in zip(findings, fingerprints(findings), strict=True)
    )


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield a log with one run; a run without findings has an empty list of results, as the standard asks."""
    driver = {
        "name": "kaitoc",
        "semanticVersion": __version__,
        "informationUri": HOME_URL,
        "rules": [_rule(rule) for rule in frame.rules],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": []}
    skeleton = json.dumps({"$schema": _SCHEMA_URL, "version": "2.1.0", "runs": [run]}, indent=2)
    return filled(skeleton, [('\n      "results": ', 4, files)])


def _rule(rule: RuleInfo) -> _Json:
    summary = rule.summary or rule.name
    description = rule.description or summary
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "help": {"text": f"{description}\n\n{rule.url}", "markdown": description},
        "helpUri": rule.url,
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, rule_index: int, fingerprint: str) -> _Json:
    location = _location(finding.source, finding.span)
    if finding.pointer:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.pointer}]
    message = f"{message_of(finding)}\n{finding.help}" if finding.help else message_of(finding)
    result: _Json = {
        "ruleId": finding.code,
        "ruleIndex": rule_index,
        "level": _LEVELS[finding.severity],
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {"kaitoc/v1": fingerprint},
    }
    if finding.related:
        result["relatedLocations"] = [_related(index, place) for index, place in enumerate(finding.related, 1)]
    if finding.fix and can_apply(finding):
        result["fixes"] = [_fix(finding.fix)]
    return result


def _location(source: Source, span: Span) -> _Json:
    return {"physicalLocation": {"artifactLocation": _artifact(source.path), "region": _region(source, span)}}


def _related(index: int, place: Related) -> _Json:
    return {"id": index, "message": {"text": place.message}, **_location(place.source, place.span)}


def _artifact(path: str) -> _Json:
    """Return a URI: relative to the repository where the path is, else absolute (section 3.4)."""
    path = relative_path(path)
    uri = quote(path.encode("utf-8", "surrogateescape"))
    if os.path.isabs(path):
        return {"uri": f"file://{uri if uri.startswith('/') else f'/{uri}'}"}
    return {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _region(source: Source, span: Span) -> _Json:
    start, end = positions(source, span)
    return {
        "startLine": start.line,
        "startColumn": start.column,
        "endLine": end.line,
        "endColumn": end.column,
        "charOffset": start.offset,
        "charLength": end.offset - start.offset,
    }


def _fix(fix: Fix) -> _Json:
    by_path: dict[str, list[Edit]] = {}
    for edit in fix.edits:
        by_path.setdefault(edit.source.path, []).append(edit)
    changes = [
        {"artifactLocation": _artifact(path), "replacements": [_replacement(edit) for edit in edits]}
        for path, edits in by_path.items()
    ]
    return {"description": {"text": f"{fix.title} ({fix.applicability.value})"}, "artifactChanges": changes}


def _replacement(edit: Edit) -> _Json:
    return {"deletedRegion": _region(edit.source, edit.span), "insertedContent": {"text": edit.replacement}}
