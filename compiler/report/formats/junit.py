"""JUnit XML, which every CI server shows: a suite per file, a case per finding, one passed case for a clean file.

What makes the run fail is a failure; milder findings pass and put their text into `system-out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kaitoc.compiler.check.rule_info import rule_url
from kaitoc.compiler.core.escape import printable, printable_lines
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.report.model import FormatOptions, Frame
from kaitoc.compiler.report.places import relative_path
from kaitoc.compiler.report.wording import message_of


def of_file(path: str, findings: Sequence[Finding], options: FormatOptions) -> str:
    """Return the suite of a file."""
    suite = _suite(printable(relative_path(path)), findings, options)
    indent(suite, level=1)
    return f"  {tostring(suite, encoding='unicode')}\n"


def of_job(_job: JobSummary, _options: FormatOptions) -> str:
    """Skip the job: this format lists findings only."""
    return ""


def whole(frame: Frame, files: Iterable[str], _jobs: Iterable[str]) -> Iterator[str]:
    """Yield an XML 1.0 document."""
    totals = frame.totals
    root = Element("testsuites", name="kaitoc", tests=str(totals.cases), failures=str(totals.failures), errors="0")
    empty = tostring(root, encoding="unicode")
    yield '<?xml version="1.0" encoding="utf-8"?>\n'
    if not totals.cases:
        yield f"{empty}\n"
        return
    yield f"{empty.removesuffix(' />')}>\n"
    yield from files
    yield "</testsuites>\n"


def _suite(name: str, findings: Sequence[Finding], options: FormatOptions) -> Element:
    num_failures = sum(options.fails(finding) for finding in findings)
    suite = Element("testsuite", name=name, tests=str(max(len(findings), 1)), failures=str(num_failures), errors="0")
    if not findings:
        SubElement(suite, "testcase", name="kaitoc", classname=name, file=name)
    for finding in findings:
        suite.append(_case(finding, name, options.fails(finding)))
    return suite


def _case(finding: Finding, name: str, failed: bool) -> Element:
    start = finding.source.position(finding.span.start)
    case = Element("testcase", name=f"{finding.code} {finding.name}", classname=name, file=name, line=str(start.line))
    lines = [f"{name}:{start.line}:{start.column}: {finding.code} {finding.severity.value} {message_of(finding)}"]
    lines += [finding.help] if finding.help else []
    text = printable_lines("\n".join([*lines, rule_url(finding.code)]))
    if failed:
        message = printable(message_of(finding))
        SubElement(case, "failure", type=finding.severity.value, message=message).text = text
    else:
        SubElement(case, "system-out").text = text
    return case
