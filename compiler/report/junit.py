"""JUnit XML, which every CI server shows: a suite per file, a case per finding, one passed case for a clean file.

What makes the run fail is a failure; milder findings pass and put their text into `system-out`.
"""

from __future__ import annotations

from itertools import groupby
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kaitoc.compiler.findings import Finding
from kaitoc.compiler.report.escape import printable, printable_lines
from kaitoc.compiler.report.model import Report, rule_url
from kaitoc.compiler.report.places import relative_path


def render(report: Report, color: bool = False) -> str:
    """Return an XML 1.0 document."""
    by_path = {path: list(group) for path, group in groupby(report.sorted_findings, lambda item: item.source.path)}
    root = Element("testsuites", name="kaitoc")
    for path in sorted({*report.files, *by_path}):
        root.append(_suite(path, by_path.get(path, []), report))
    root.set("tests", str(sum(int(suite.get("tests", "0")) for suite in root)))
    root.set("failures", str(sum(int(suite.get("failures", "0")) for suite in root)))
    root.set("errors", "0")
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(path: str, findings: list[Finding], report: Report) -> Element:
    name = printable(relative_path(path))
    num_failures = sum(report.fails(finding) for finding in findings)
    suite = Element("testsuite", name=name, tests=str(max(len(findings), 1)), failures=str(num_failures), errors="0")
    if not findings:
        SubElement(suite, "testcase", name="kaitoc", classname=name, file=name)
    for finding in findings:
        suite.append(_case(finding, name, report.fails(finding)))
    return suite


def _case(finding: Finding, name: str, failed: bool) -> Element:
    start = finding.source.position(finding.span.start)
    case = Element("testcase", name=f"{finding.code} {finding.name}", classname=name, file=name, line=str(start.line))
    lines = [f"{name}:{start.line}:{start.column}: {finding.code} {finding.severity.value} {finding.message}"]
    lines += [finding.help] if finding.help else []
    text = printable_lines("\n".join([*lines, rule_url(finding.code)]))
    if failed:
        message = printable(finding.message)
        SubElement(case, "failure", type=finding.severity.value, message=message).text = text
    else:
        SubElement(case, "system-out").text = text
    return case
