"""The index of all rules in Markdown: `python -m kaitoc.compiler.check.rule_index > docs/rules.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kaitoc.compiler.check.rule_pages import page_path, summary
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.job.faults import Rule
from kaitoc.rules import RULES


def rules_by_area() -> dict[Area, list[Rule]]:
    """Return the rules of each area, both in the order of their codes; areas without rules are left out."""
    areas: dict[Area, list[Rule]] = {}
    for rule in sorted(RULES, key=lambda rule: rule.CODE):
        areas.setdefault(area_of(rule.CODE), []).append(rule)
    return areas


def render_index() -> str:
    """Return a table of the rules by area, each with a link to its page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Rules"
    yield ""
    yield f"{len(RULES)} rules. `kaitoc explain CODE` shows a page; `make docs` writes this index."
    for area, rules in rules_by_area().items():
        yield ""
        yield f"## {area.title} ({area.value})"
        yield ""
        yield "| Code | Name | Severity | Fix | What it finds |"
        yield "|---|---|---|---|---|"
        for rule in rules:
            fix = rule.FIX.value if rule.FIX is not None else ""
            link = f"[{rule.NAME}](../rules/{page_path(rule).name})"
            yield f"| {rule.CODE} | {link} | {rule.SEVERITY.value} | {fix} | {summary(rule)} |"


if __name__ == "__main__":
    sys.stdout.write(render_index())
