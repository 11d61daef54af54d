"""Every rule's page is true: its examples give exactly the findings they mark, and its fixes work."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from page_examples import Example, examples, findings_of, fixed

from kaitoc.compiler.check.rule_pages import page_path, page_text, summary
from kaitoc.compiler.core.areas import area_of
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.job.faults import Rule
from kaitoc.rules import RULES

HEADINGS = ["What it does", "Why it matters", "Example", "Corrected", "Fix safety", "Releases", "References"]
EXAMPLES = [example for rule in RULES for example in examples(rule)]
FIXED = [
    (before, after) for rule in RULES for before, after in pairwise(examples(rule)) if "after-fix" in after.options
]


def rule_id(rule: Rule) -> str:
    return rule.CODE


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_gives_the_findings_it_marks(example: Example) -> None:
    source, findings = findings_of(example)

    found = [(source.position(finding.span.start).line, finding.severity.value) for finding in findings]
    assert sorted(found) == sorted(example.expected)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_fix_removes_its_finding_and_is_idempotent(example: Example) -> None:
    source, findings = findings_of(example)
    fixable = [finding for finding in findings if finding.fix and finding.fix.applicability != Applicability.DISPLAY]

    once = fixed(source, fixable, Applicability.UNSAFE)
    _, remaining = findings_of(example, once)

    assert (once == source.text) is not bool(fixable)

    assert len(remaining) == len(findings) - len(fixable)
    assert all(finding.fix is None or finding.fix.applicability is Applicability.DISPLAY for finding in remaining)


@pytest.mark.parametrize(("before", "after"), FIXED, ids=str)
def test_the_corrected_example_is_what_the_fix_writes(before: Example, after: Example) -> None:
    source, findings = findings_of(before)

    assert fixed(source, findings, Applicability.UNSAFE) == after.text


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
def test_a_rule_offers_the_fix_it_states(rule: Rule) -> None:
    offered = {
        finding.fix.applicability for example in examples(rule) for finding in findings_of(example)[1] if finding.fix
    }

    order = list(Applicability)
    assert min(offered, key=order.index, default=None) == rule.FIX


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
def test_a_page_has_the_headings_in_order(rule: Rule) -> None:
    page = page_text(rule)
    found = re.findall(r"^## (.+)$", page, re.MULTILINE)

    assert page.startswith(f"# {rule.NAME} ({rule.CODE})\n")
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
def test_a_page_shows_the_fault_and_its_correction(rule: Rule) -> None:
    bad = [example for example in examples(rule) if example.heading == "Example"]
    good = [example for example in examples(rule) if example.heading == "Corrected"]

    assert any(example.expected for example in bad)
    assert good
    assert all(not example.expected for example in good)


@pytest.mark.parametrize("rule", RULES, ids=rule_id)
def test_a_rule_is_named_after_its_fault(rule: Rule) -> None:
    module = getattr(rule, "__name__", "").rpartition(".")[2]

    assert module == rule.NAME.replace("-", "_")
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.NAME)
    assert not re.match(r"(no|disallow|avoid|use|prefer|allow|check)-", rule.NAME)
    assert re.fullmatch(r"KT\d{3}", rule.CODE)
    assert area_of(rule.CODE).title
    assert summary(rule).endswith(".")


def test_codes_and_names_are_unique_and_in_order() -> None:
    codes = [rule.CODE for rule in RULES]

    assert codes == sorted(set(codes))
    assert len({rule.NAME for rule in RULES}) == len(RULES)


def test_every_module_and_page_belongs_to_a_rule() -> None:
    folder = page_path(RULES[0]).parent
    registered = {page_path(rule).stem for rule in RULES}
    shared = {path.stem for path in folder.glob("_*.py")}

    assert {path.stem for path in folder.glob("*.md")} == registered
    assert {path.stem for path in folder.glob("*.py")} - shared == registered
