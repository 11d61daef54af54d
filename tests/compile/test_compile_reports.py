"""Reports of a compilation: JSON that its schema takes, Markdown and HTML that a hostile manifest cannot steer."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from kaitoc import schemas
from kaitoc.compiler.check.engine import RuleSet
from kaitoc.compiler.compile.driver import compile_files
from kaitoc.compiler.compile.model import Compilation, CompileRequest
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.prices import parse_price
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.passes.model import PassContext
from kaitoc.compiler.report.compile.chart import COLORS, parts_of
from kaitoc.compiler.report.compile.formats import parse_report_path, render_report
from kaitoc.compiler.report.compile.text import render_text
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

FIXTURES = Path(__file__).parents[1] / "passes"
HOSTILE = "<script>alert(1)</script>|`x`"
VOID_TAGS = {"meta", "br", "wbr"}
MODULES = ("json", "markdown", "html")


def compilation(text: str, gpu: str | None = None, price: str = "Standard_NC24ads_A100_v4=3.67") -> Compilation:
    source = Source("manifest.yaml", text)
    context = PassContext(job_rules=JOB_RULES)
    overrides = Overrides(target="bundled", attention="eager", gpu=gpu, prices=(parse_price(price),))
    request = CompileRequest(
        overrides, SettingsFinder(isolated=True), RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), context
    )
    return compile_files([source.path], request, [source])


@pytest.fixture(scope="module")
def fitted() -> Compilation:
    return compilation((FIXTURES / "fit" / "checkpointing" / "before.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def refused() -> Compilation:
    text = (FIXTURES / "fit" / "checkpointing" / "before.yaml").read_text(encoding="utf-8")
    return compilation(text.replace("phi-3-mini-128k-instruct", "qwen2.5-coder-32b-instruct"), gpu="A10")


class Page(HTMLParser):
    """Collects a page's tags and attributes and checks that they are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", ["fitted", "refused"])
def test_the_json_report_is_what_its_schema_says(name: str, request: pytest.FixtureRequest) -> None:
    schema = json.loads((Path(schemas.__file__).parent / "compile_report.json").read_text(encoding="utf-8"))

    report = json.loads(render_report("json", request.getfixturevalue(name)))

    jsonschema.validate(report, schema, jsonschema.Draft202012Validator)
    assert report["refused"] is (name == "refused")


def test_the_json_report_tells_every_change_with_its_gain(fitted: Compilation) -> None:
    (job,) = json.loads(render_report("json", fitted))["jobs"]
    by_what = {change["what"]: change for change in job["changes"]}

    change = by_what["TrainingArguments.gradient_checkpointing"]
    assert change["preserves"] == "exact"
    assert change["performance_after"]["peak_bytes"] < change["performance_before"]["peak_bytes"]
    assert job["performance_after"]["price_per_million_tokens"] > 0


def test_the_page_needs_no_network_and_runs_no_script(fitted: Compilation) -> None:
    page = Page(render_report("html", fitted))

    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.seen}
    assert not [
        name for _, attributes in page.seen for name in attributes if name in ("src", "href") or name[:2] == "on"
    ]
    policies = [attributes["content"] for tag, attributes in page.seen if attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_page_draws_memory_before_and_after_on_one_scale(fitted: Compilation) -> None:
    page = Page(render_report("html", fitted))
    footprint = fitted.jobs[0].before.footprint
    assert footprint is not None

    widths = [float(attributes["width"] or 0) for tag, attributes in page.seen if tag == "rect"]
    num_bars = len(widths) - len(COLORS)
    before, after = fitted.jobs[0].performance_before.peak_bytes, fitted.jobs[0].performance_after.peak_bytes
    assert before is not None
    assert after is not None
    drawn = widths[:num_bars]
    share = before / (before + after)
    split = min(range(1, num_bars), key=lambda index: abs(sum(drawn[:index]) / sum(drawn) - share))
    assert sum(drawn[split:]) / sum(drawn[:split]) == pytest.approx(after / before, rel=0.05)
    assert sum(parts_of(footprint).values()) == footprint.device_bytes


@pytest.mark.parametrize("module", MODULES)
def test_a_refusal_says_why(refused: Compilation, module: str) -> None:
    text = render_report(module, refused)

    assert "KT501" in text
    assert "needs at least" in text


def test_text_from_manifests_stays_text() -> None:
    text = (FIXTURES / "fit" / "checkpointing" / "before.yaml").read_text(encoding="utf-8")
    hostile = text.replace("mlm: false", f"mlm: true # {HOSTILE}").replace("name: tune\n", f"name: '{HOSTILE}'\n")

    result = compilation(hostile)

    page = Page(render_report("html", result))
    assert "script" not in {tag for tag, _ in page.seen}
    assert HOSTILE in page.text
    assert "<script>" not in render_report("markdown", result)


def test_no_terminal_sequence_gets_through() -> None:
    text = (FIXTURES / "fit" / "checkpointing" / "before.yaml").read_text(encoding="utf-8")
    hostile = text.replace("output_dir: /mnt/results", 'output_dir: "\\e[2Jresults"')

    assert "\x1b[2J" not in render_text(compilation(hostile))


def test_markdown_rows_have_as_many_cells_as_their_head(fitted: Compilation) -> None:
    lines = render_report("markdown", fitted).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| Place"))

    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[start:] if line.startswith("|")}

    assert cells == {7}


@pytest.mark.parametrize("module", ["markdown", "html"])
def test_every_change_is_told_with_place_pass_reason_bytes_and_speed(fitted: Compilation, module: str) -> None:
    written = render_report(module, fitted)
    shown = Page(written).text if module == "html" else written.replace("\\", "")

    assert fitted.jobs[0].changes
    for change in fitted.jobs[0].changes:
        start, before, after = change.position, change.performance_before, change.performance_after
        assert f"manifest.yaml:{start.line}:{start.column}" in shown
        assert f"{change.pass_name}: {change.reason}" in shown
        assert f"{(before.peak_bytes or 0) / 2**30:.1f} GiB" in shown
        assert f"{(after.peak_bytes or 0) / 2**30:.1f} GiB" in shown
        assert f"{before.tokens_per_second:,.0f} tokens/s" in shown
        assert f"{after.tokens_per_second:,.0f} tokens/s" in shown


def test_a_report_path_names_its_format() -> None:
    assert [parse_report_path(f"x.{ending}").module for ending in ("json", "md", "HTML")] == list(MODULES)
