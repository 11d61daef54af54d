"""For people: each finding with its source excerpt, related places, help and fix, then the jobs and a summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding, Related
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.excerpt import ExcerptLine, excerpt
from kaitoc.compiler.report.model import FormatOptions, Frame, Verbosity
from kaitoc.compiler.report.places import last_line
from kaitoc.compiler.report.style import Style
from kaitoc.compiler.report.wording import can_apply, fix_hint, job_facts, job_need, message_of, plural, summary_line

MOST_JOBS = 10
"""Of more jobs the rest is a number, unless all are asked for."""


def of_file(_path: str, findings: Sequence[Finding], options: FormatOptions) -> str:
    """Return a file's findings, each with an empty line behind it; nothing from a manifest can steer a terminal."""
    style = Style(options.color)
    return "".join("\n".join(_finding_lines(finding, style)) + "\n\n" for finding in findings)


def of_job(job: JobSummary, options: FormatOptions) -> str:
    """Return a job in one line."""
    return _job_line(job, Style(options.color)) + "\n"


def whole(frame: Frame, files: Iterable[str], jobs: Iterable[str]) -> Iterator[str]:
    """Yield the report in order: each finding with its excerpt, then jobs, then the summary."""
    yield from files
    if frame.verbosity is Verbosity.QUIET:
        return
    yield from jobs if frame.verbosity is Verbosity.VERBOSE else islice(jobs, MOST_JOBS)
    if frame.totals.jobs > MOST_JOBS and frame.verbosity is Verbosity.NORMAL:
        yield f"and {plural(frame.totals.jobs - MOST_JOBS, 'more job')} (`--verbose` lists all)\n"
    summary = Style(frame.color).strong(printable(summary_line(frame.totals)))
    yield ("\n" if frame.totals.jobs else "") + summary + "\n"


def _finding_lines(finding: Finding, style: Style) -> Iterator[str]:
    fixable = style.fix(" [*]") if can_apply(finding) else ""
    severity = style.severity(finding.severity, finding.severity.value)
    yield f"{style.strong(finding.code)}{fixable} {severity}: {style.strong(printable(message_of(finding)))}"
    lines = excerpt(finding.source, finding.span)
    places = [(related, excerpt(related.source, related.span, "-", num_context=0)) for related in finding.related]
    gutter = len(str(max(line.number for shown in (lines, *(shown for _, shown in places)) for line in shown)))
    indent = " " * gutter
    start = finding.source.position(finding.span.start)
    last = last_line(finding.source, finding.span)
    place = f"{printable(finding.source.path)}:{start.line}:{start.column}"
    through = f" (to line {last})" if last > start.line else ""
    yield f"{indent}{style.faint('-->')} {place}{through}"
    for line in lines:
        yield _excerpt_line(line, gutter, style.severity(finding.severity, line.mark), style)
    for related, shown in places:
        yield _related_line(related, indent, style)
        for line in shown:
            yield _excerpt_line(line, gutter, style.related(line.mark), style)
    if finding.help:
        yield f"{indent} {style.faint('=')} help: {printable(finding.help)}"
    if finding.fix:
        title = f"{printable(finding.fix.title)} ({fix_hint(finding.fix)})"
        yield f"{indent} {style.faint('=')} {style.fix('fix')}: {title}"


def _excerpt_line(line: ExcerptLine, gutter: int, mark: str, style: Style) -> str:
    """Return a line of the source with its number, and the line with its mark, if it has one."""
    shown = f"{style.faint(f'{line.number:>{gutter}} |')} {line.text}".rstrip()
    return f"{shown}\n{style.faint(' ' * gutter + ' |')} {mark}" if line.mark else shown


def _related_line(related: Related, indent: str, style: Style) -> str:
    start = related.source.position(related.span.start)
    place = f"{printable(related.source.path)}:{start.line}:{start.column}"
    return f"{indent}{style.faint(':::')} {place}: {printable(related.message)}"


def _job_line(job: JobSummary, style: Style) -> str:
    facts = ", ".join(job_facts(job))
    place = f"{printable(job.path)}: " if job.path else ""
    return (
        f"{place}{style.strong(printable(job.shown_title))}{printable(f' ({facts})' if facts else '')} {job_need(job)}"
    )
