"""GitLab's Code Quality report, shown on merge requests.

Source of the keys: GitLab documentation, "Code Quality report format" (a subset of the Code Climate specification).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.json_pieces import filled, item, joined
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import fingerprints, positions, relative_path
from kaitoc.compiler.report.wording import message_of

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}


def of_file(_path: str, findings: Sequence[Finding], _options: FormatOptions) -> str:
    """Return a file's findings as items of the array."""
    return joined(item(_issue(finding, key), 1) for finding, key in zip(findings, fingerprints(findings), strict=True))


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(_frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield a JSON array, empty when there is no finding."""
    return filled("[]", [("", 1, files)])


def _issue(finding: Finding, fingerprint: str) -> dict[str, object]:
    start, end = positions(finding.source, finding.span)
    return {
        "description": f"{finding.code} {message_of(finding)}",
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
