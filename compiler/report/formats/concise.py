"""One line per finding, `file:line:column: CODE severity message`, for grep and editors' error lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.style import Style
from kaitoc.compiler.report.wording import can_apply, message_of


def of_file(_path: str, findings: Sequence[Finding], options: FormatOptions) -> str:
    """Return one line per finding."""
    style = Style(options.color)
    return "".join(_line(finding, style) for finding in findings)


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(_frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield the lines and nothing else."""
    yield from files


def _line(finding: Finding, style: Style) -> str:
    start = finding.source.position(finding.span.start)
    place = f"{printable(finding.source.path)}:{start.line}:{start.column}"
    severity = style.severity(finding.severity, finding.severity.value)
    fixable = style.fix(" [*]") if can_apply(finding) else ""
    return f"{place}: {style.strong(finding.code)} {severity} {printable(message_of(finding))}{fixable}\n"
