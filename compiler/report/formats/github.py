"""GitHub Actions workflow commands, which become annotations on the lines of a pull request.

Source of the escapes: `escapeData` and `escapeProperty` of actions/toolkit, packages/core/src/command.ts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.core.escape import printable, printable_lines
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import last_line, positions, relative_path
from kaitoc.compiler.report.wording import message_of

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def of_file(_path: str, findings: Sequence[Finding], _options: FormatOptions) -> str:
    """Return one command per finding; manifests cannot smuggle in commands of their own."""
    return "".join(_command(finding) for finding in findings)


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(_frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield the commands and nothing else."""
    yield from files


def _command(finding: Finding) -> str:
    start, end = positions(finding.source, finding.span)
    properties = {
        "title": f"{finding.code} {finding.name}",
        "file": relative_path(finding.source.path),
        "line": str(start.line),
        "endLine": str(last_line(finding.source, finding.span)),
    }
    # An annotation over several lines must not have columns (REST API, check runs, `annotations`).
    if start.line == end.line:
        properties |= {"col": str(start.column), "endColumn": str(end.column)}
    message = f"{message_of(finding)}\n{finding.help}" if finding.help else message_of(finding)
    listed = ",".join(f"{name}={_escape_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {listed}::{_escape_data(printable_lines(message))}\n"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(printable(text)).replace(":", "%3A").replace(",", "%2C")
