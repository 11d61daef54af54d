"""GitLab's Code Quality report, shown on merge requests.

Source of the keys: GitLab documentation, "Code Quality report format" (a subset of the Code Climate specification).
"""

from __future__ import annotations

import json

from kaitoc.compiler.findings import Finding, Severity
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.report.places import fingerprints, positions, relative_path

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}


def render(report: Report, color: bool = False) -> str:
    """Return a JSON array, empty when there is no finding."""
    findings = report.sorted_findings
    issues = [_issue(finding, key) for finding, key in zip(findings, fingerprints(findings), strict=True)]
    return json.dumps(issues, indent=2) + "\n"


def _issue(finding: Finding, fingerprint: str) -> dict[str, object]:
    start, end = positions(finding.source, finding.span)
    return {
        "description": f"{finding.code} {finding.message}",
        "check_name": finding.name,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {
            "path": relative_path(finding.source.path),
            "positions": {
                "begin": {"line": start.line, "column": start.column},
                "end": {"line": end.line, "column": end.column},
            },
        },
    }
