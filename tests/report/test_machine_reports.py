"""The formats for programs, held to their schemas or to the documented shape, also under attack."""

import io
import json
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaitoc import schemas
from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Applicability, Edit, Finding, Fix, ObjectRef, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.report import FORMATS, ReportTarget, default_format, emit, parse_target, render
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.report.places import relative_path

REPORT_SCHEMA = Path(schemas.__file__).parent / "report.json"
SARIF_SCHEMA = Path(__file__).parent / "vendor" / "sarif-2.1.0.json"


def findings_with(text: str) -> list[Finding]:
    """Return findings that carry a text in every place where a manifest can put one."""
    source = Source(f"{text}.yaml", f"key: {text}\n")
    span = Span(5, 5 + len(text))
    fix = Fix(text, Applicability.SAFE, (Edit(source, span, text),))
    return [
        Finding("KT201", "unknown-key", severity, text, source, span, text, help=text, fix=fix) for severity in Severity
    ]


def check_report(report: Report) -> None:
    jsonschema.validate(json.loads(render(report, "json")), json.loads(REPORT_SCHEMA.read_text(encoding="utf-8")))


def check_sarif(report: Report) -> None:
    schema = json.loads(SARIF_SCHEMA.read_text(encoding="utf-8"))
    checker = jsonschema.Draft4Validator.FORMAT_CHECKER
    jsonschema.Draft4Validator(schema, format_checker=checker).validate(json.loads(render(report, "sarif")))


@pytest.mark.parametrize("check", [check_report, check_sarif])
class TestSchemas:
    def test_a_report_is_valid(self, check: Any, full_report: Report) -> None:
        check(full_report)

    def test_an_empty_report_is_valid(self, check: Any) -> None:
        check(Report())

    def test_a_hostile_report_is_valid(self, check: Any, hostile_report: Report) -> None:
        check(hostile_report)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text())
def test_every_text_makes_valid_sarif_and_json(text: str) -> None:
    report = Report(tuple(findings_with(text)))

    check_sarif(report)
    check_report(report)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_finding_in_text_that_is_no_file_names_its_object(format_name: str) -> None:
    owner = ObjectRef("Workspace", "team", "tune-phi")
    finding = Finding("KT320", "name", Severity.ERROR, "no", Source("<stdin>", "a\n"), Span(0, 1), object=owner)

    text = render(Report((finding,)), format_name)

    named = "Workspace team/tune-phi" in text.replace("\\/", "/")
    assert named or (format_name == "json" and json.loads(text)["findings"][0]["object"]["name"] == "tune-phi")


@pytest.mark.parametrize("format_name", ["json", "sarif", "gitlab", "rdjson"])
def test_json_formats_are_ascii(format_name: str, hostile_report: Report) -> None:
    assert render(hostile_report, format_name).isascii()


def test_json_spans_name_the_text_they_cover(full_report: Report) -> None:
    for finding, source in zip(
        json.loads(render(full_report, "json"))["findings"], full_report.sorted_findings, strict=True
    ):
        start, end = finding["span"]["start"], finding["span"]["end"]
        line = source.source.text.split("\n")[start["line"] - 1]

        assert source.source.text[start["offset"] : end["offset"]] == source.source.slice(source.span)
        assert line[start["column"] - 1 :].startswith(source.source.slice(source.span).split("\n")[0])


def test_sarif_fixes_give_the_text_that_fix_gives(full_report: Report, configmap: Source) -> None:
    results = json.loads(render(full_report, "sarif"))["runs"][0]["results"]
    (fix,) = next(result["fixes"] for result in results if result["ruleId"] == "KT402")
    (change,) = fix["artifactChanges"]
    (replacement,) = change["replacements"]
    start = replacement["deletedRegion"]["charOffset"]
    end = start + replacement["deletedRegion"]["charLength"]
    edits = next(finding.fix.edits for finding in full_report.findings if finding.code == "KT402" and finding.fix)

    fixed = configmap.text[:start] + replacement["insertedContent"]["text"] + configmap.text[end:]

    assert fixed == apply_edits(configmap, edits)


def test_sarif_names_files_outside_the_repository_absolutely() -> None:
    path = os.path.abspath(os.path.join(os.path.dirname(os.getcwd()), "other", "ws.yaml"))
    finding = Finding("KT101", "syntax", Severity.ERROR, "bad", Source(path, "a"), Span(0, 1))
    (result,) = json.loads(render(Report((finding,)), "sarif"))["runs"][0]["results"]

    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": Path(path).as_uri()}


def test_a_path_below_the_working_folder_is_reported_relative_to_it() -> None:
    assert relative_path(os.path.join(os.getcwd(), "a", "..", "b", "ws.yaml")) == "b/ws.yaml"


def test_github_commands_stay_one_line_each(hostile_report: Report) -> None:
    lines = render(hostile_report, "github").splitlines()

    assert len(lines) == 1
    assert re.fullmatch(r"::error title=[^:,]*,file=[^:,]*,line=1,endLine=3::.*", lines[0])


@settings(deadline=None)
@given(st.text())
def test_no_text_adds_a_github_command(text: str) -> None:
    output = render(Report(tuple(findings_with(text))), "github")

    assert output.count("\n") == len(output.splitlines()) == 3
    for line in output.splitlines():
        properties, _, _ = line.removeprefix("::").partition("::")
        assert [part.partition("=")[0] for part in properties.partition(" ")[2].split(",")][:4] == [
            "title",
            "file",
            "line",
            "endLine",
        ]


def test_gitlab_fingerprints_are_unique_and_survive_moved_lines(full_report: Report) -> None:
    def fingerprints(report: Report) -> list[str]:
        return [issue["fingerprint"] for issue in json.loads(render(report, "gitlab"))]

    finding = full_report.sorted_findings[0]
    moved_source = Source(finding.source.path, "\n\n" + finding.source.text)
    moved = Finding(
        finding.code,
        finding.name,
        finding.severity,
        finding.message,
        moved_source,
        Span(finding.span.start + 2, finding.span.end + 2),
        finding.pointer,
        finding.object,
    )

    assert len(set(fingerprints(Report((finding, finding))))) == 2
    assert fingerprints(Report((finding,))) == fingerprints(Report((moved,)))


def test_gitlab_issues_have_the_documented_keys(full_report: Report) -> None:
    for issue in json.loads(render(full_report, "gitlab")):
        assert issue.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"]["positions"]["begin"]["line"] >= 1


def test_rdjson_columns_count_utf8_bytes() -> None:
    source = Source("f.yaml", "a: 'a𐐀b'")
    finding = Finding("KT101", "syntax", Severity.ERROR, "bad", source, Span(6, 7))
    (diagnostic,) = json.loads(render(Report((finding,)), "rdjson"))["diagnostics"]

    assert diagnostic["location"]["range"] == {"start": {"line": 1, "column": 10}, "end": {"line": 1, "column": 11}}


def test_rdjson_suggests_no_part_of_a_fix_over_two_files(configmap: Source, workspace: Source) -> None:
    edits = (Edit(configmap, Span(0, 1), "x"), Edit(workspace, Span(0, 1), "x"))
    fix = Fix("Rename", Applicability.SAFE, edits)
    finding = Finding("KT301", "name", Severity.ERROR, "bad", configmap, Span(0, 1), fix=fix)
    (diagnostic,) = json.loads(render(Report((finding,)), "rdjson"))["diagnostics"]

    assert "suggestions" not in diagnostic


@settings(deadline=None)
@given(st.text())
def test_every_text_makes_well_formed_junit(text: str) -> None:
    root = ElementTree.fromstring(render(Report(tuple(findings_with(text))), "junit"))  # noqa: S314 our own output

    assert (root.get("tests"), root.get("failures")) == ("3", "1")


@pytest.mark.parametrize(("strict", "num_failures"), [(False, "2"), (True, "3")])
def test_junit_fails_what_fails_the_run(strict: bool, num_failures: str, full_report: Report) -> None:
    report = Report(full_report.findings, strict=strict)
    root = ElementTree.fromstring(render(report, "junit"))  # noqa: S314 our own output

    assert root.get("failures") == num_failures
    assert len(root.findall(".//failure")) == int(num_failures)


def test_markdown_text_from_manifests_has_no_markup(hostile_report: Report) -> None:
    table = [line for line in render(hostile_report, "markdown").splitlines() if line.startswith("| error")]

    assert len(table) == 1
    assert table[0].count("|") == 5
    assert not re.search(r"<|`|@\w|#\d+(?!\d*;)", table[0].replace("&#", ""))


def test_markdown_lists_a_bounded_number_of_findings() -> None:
    findings = tuple(findings_with("x") * 100)

    assert "200 more are not shown." in render(Report(findings), "markdown")


def test_a_target_is_a_format_and_maybe_a_file() -> None:
    assert parse_target("json") == ReportTarget("json")
    assert parse_target("sarif=out/a=b.sarif") == ReportTarget("sarif", "out/a=b.sarif")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("serif", "did you mean `sarif`"),
        ("json=", "has no file name"),
        ("", "choose from"),
        ("__init__", "not a format"),
    ],
)
def test_a_wrong_target_says_what_is_wrong(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_target(value)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        render(Report(), "model")


def test_several_reports_go_to_files_and_to_the_stream(tmp_path: Path, full_report: Report) -> None:
    stream = io.StringIO()
    target = tmp_path / "report.sarif"

    emit(
        full_report,
        [ReportTarget("concise"), ReportTarget("sarif", str(target)), ReportTarget("text")],
        stream,
        color=True,
    )

    assert stream.getvalue() == render(full_report, "concise", color=True) + render(full_report, "text", color=True)
    assert target.read_text(encoding="utf-8") == render(full_report, "sarif")


def test_github_actions_get_annotations() -> None:
    assert default_format({"GITHUB_ACTIONS": "true"}) == "github"
    assert default_format({}) == "text"


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_report_ends_with_one_line_break(format_name: str, full_report: Report) -> None:
    text = render(full_report, format_name)

    assert text.endswith("\n")
    assert not text.endswith("\n\n")
