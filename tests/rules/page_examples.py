"""Reads the YAML examples of a rule's page: the text to check, the options of its fence, the expected findings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.rule_pages import page_text
from kaitoc.compiler.core.edits import apply_edits, collect_edits, select_fixes
from kaitoc.compiler.core.findings import Applicability, Finding
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.faults import Rule, to_finding
from kaitoc.compiler.job.prices import parse_price
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.manifest.reading import read_manifests
from kaitoc.compiler.memory.row_lengths import stated_rows
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES, cluster_rules, serving_rules, update_rules

_FENCE = re.compile(r"^```yaml(?P<options>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"[ \t]*# (?P<severity>error|warning|info): \[(?P<code>KT\d+)\]")


@dataclass(frozen=True)
class Example:
    """One fenced block: `expected` are (line, severity) of the page's own code, `options` the words of the fence.

    A block marked `update` is the new version of the object in the block before, `previous`.
    """

    code: str
    line: int
    text: str
    expected: list[tuple[int, str]] = field(hash=False)
    heading: str
    options: dict[str, str] = field(default_factory=dict, hash=False)
    previous: str = ""

    def __str__(self) -> str:
        return f"{self.code}:{self.line}"


def examples(rule: Rule) -> list[Example]:
    page = page_text(rule)
    found = []
    for fence in _FENCE.finditer(page):
        line = page.count("\n", 0, fence.start()) + 1
        heading = page[: fence.start()].rpartition("\n## ")[2].partition("\n")[0]
        expected = []
        body = fence["body"]
        for number, text in enumerate(body.split("\n"), start=1):
            for marker in _MARKER.finditer(text):
                assert marker["code"] == rule.CODE, f"{rule.CODE}:{line}: a page only marks its own code"
                expected.append((number, marker["severity"]))
        options = dict(word.partition("=")[::2] for word in fence["options"].split())
        previous = found[-1].text if "update" in options else ""
        found.append(Example(rule.CODE, line, _MARKER.sub("", body), expected, heading, options, previous))
    return found


def engine_for(example: Example) -> Engine:
    options = example.options
    overrides = Overrides(
        model=options.get("model"),
        gpu=options.get("gpu"),
        kaito_version=options.get("kaito-version"),
        target=options.get("target"),
        seq_len_tokens=int(options["seq-len"]) if "seq-len" in options else None,
        margin_percent=float(options["margin"]) if "margin" in options else None,
        attention=options.get("attention"),
        num_gpus=int(options["gpus"]) if "gpus" in options else None,
        rows=stated_rows(None, options.get("lengths")),
        prices=tuple(parse_price(text) for text in options["price"].split(",")) if "price" in options else (),
    )
    rules = RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES, serving_rules, cluster_rules)
    return Engine(rules, overrides, SettingsFinder(isolated=True))


def findings_of(example: Example, text: str | None = None) -> tuple[Source, list[Finding]]:
    if text is None:
        text = example.text
    if example.previous:
        source = Source("example.yaml", text)
        return source, _update_findings(example, source)
    source, outcome = checked(example, text)
    assert outcome.errors == []
    return source, [finding for finding in outcome.findings if finding.code == example.code]


@cache
def checked(example: Example, text: str) -> tuple[Source, Outcome]:
    """Check a text by the options of an example, once for all tests."""
    source = Source("example.yaml", text)
    engine = engine_for(example)
    engine.library.add_source(source)
    return source, engine.check([source.path])


def _update_findings(example: Example, source: Source) -> list[Finding]:
    (old,) = read_manifests(Source("old.yaml", example.previous)).manifests
    (new,) = read_manifests(source).manifests
    return [
        to_finding(rule, fault)
        for rule in update_rules()
        if example.code == rule.CODE
        for fault in rule.check(old, new)
    ]


def fixed(source: Source, findings: list[Finding], allow: Applicability) -> str:
    chosen, _ = select_fixes(findings, allow)
    edits = collect_edits(chosen)
    return apply_edits(source, edits[source]) if source in edits else source.text
