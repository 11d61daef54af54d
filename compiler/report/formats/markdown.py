"""A Markdown summary for a pull-request comment or a job's summary page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from kaitoc.compiler.check.rule_info import rule_url
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import relative_path
from kaitoc.compiler.report.wording import message_of, severity_counts, summary_line

# GitHub and GitLab refuse longer comments or cut them (65,536 characters on GitHub).
MAX_ROWS = 100
MAX_CELL_CHARACTERS = 300

_PUNCTUATION = re.compile(r"[\\`*_{}\[\]()<>#|~$!&]")
_MENTION = re.compile(r"([@#])(?=\w)")


def of_file(_path: str, findings: Sequence[Finding], _options: FormatOptions) -> str:
    """Return a row per finding; text from manifests stays text. More rows than a report shows are left out."""
    return "".join(_finding_row(finding) + "\n" for finding in findings[:MAX_ROWS])


def of_job(job: JobSummary, _options: FormatOptions) -> str:
    """Return the row of a job."""
    return _job_row(job) + "\n"


def whole(frame: Frame, files: Iterable[str], jobs: Iterable[str]) -> Iterator[str]:
    """Yield a heading, a table of findings and a table of jobs."""
    totals = frame.totals
    yield f"### kaitoc: {severity_counts(totals) or 'no findings'}\n\n"
    if totals.findings:
        yield "| Severity | Rule | Place | Finding |\n| --- | --- | --- | --- |\n"
        yield from _first_rows(files)
        yield "\n"
    if totals.findings > MAX_ROWS:
        yield f"{totals.findings - MAX_ROWS} more are not shown.\n\n"
    if totals.jobs:
        yield "| Job | Method | Model | GPU | Tokens | Batch | Needs | Has | Verdict |\n" + "| --- " * 9 + "|\n"
        yield from _first_rows(jobs)
        yield "\n"
    yield summary_line(totals) + "\n"


def _first_rows(texts: Iterable[str]) -> Iterator[str]:
    return islice((row for text in texts for row in text.splitlines(keepends=True)), MAX_ROWS)


def _finding_row(finding: Finding) -> str:
    start = finding.source.position(finding.span.start)
    place = f"{relative_path(finding.source.path)}:{start.line}"
    rule = f"[{finding.code}]({rule_url(finding.code)})"
    return f"| {finding.severity.value} | {rule} | {markdown_text(place)} | {markdown_text(message_of(finding))} |"


def _job_row(job: JobSummary) -> str:
    cells = [job.shown_title, job.method, job.model, job.gpu]
    cells += ["" if number is None else str(number) for number in (job.seq_len, job.batch)]
    cells += [format_gib(job.footprint.device_bytes) if job.footprint else "unknown"]
    cells += [format_gib(job.capacity_bytes) if job.capacity_bytes is not None else "unknown"]
    cells += [job.verdict.value if job.verdict else "unknown"]
    return f"| {' | '.join(markdown_text(cell) for cell in cells)} |"


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, nobody mentioned and nothing linked."""
    text = printable(text)
    if len(text) > MAX_CELL_CHARACTERS:
        text = text[: MAX_CELL_CHARACTERS - 1] + "\u2026"
    text = _MENTION.sub("\\1\u200b", text)
    return _PUNCTUATION.sub(lambda match: f"&#{ord(match.group())};", text)
