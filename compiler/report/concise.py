"""One line per finding, `file:line:column: CODE severity message`, for grep and editors' error lists."""

from __future__ import annotations

from kaitoc.compiler.findings import Finding
from kaitoc.compiler.report.escape import printable
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.report.style import Style
from kaitoc.compiler.report.wording import can_apply


def render(report: Report, color: bool = False) -> str:
    """Return one line per finding and nothing else."""
    style = Style(color)
    return "".join(_line(finding, style) for finding in report.sorted_findings)


def _line(finding: Finding, style: Style) -> str:
    start = finding.source.position(finding.span.start)
    place = f"{printable(finding.source.path)}:{start.line}:{start.column}"
    severity = style.severity(finding.severity, finding.severity.value)
    fixable = style.fix(" [*]") if can_apply(finding) else ""
    return f"{place}: {style.strong(finding.code)} {severity} {printable(finding.message)}{fixable}\n"
