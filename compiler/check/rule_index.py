"""The index of all rules in Markdown: `python -m kaitoc.compiler.check.rule_index > docs/rules.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from kaitoc.compiler.check.rule_pages import page_path, summary
from kaitoc.rules import RULES

AREAS = {
    "KT1": "Manifest and YAML",
    "KT2": "What the runtime's parser refuses",
    "KT3": "What Kaito's admission or controller rejects",
    "KT4": "What crashes, or trains something else",
    "KT5": "Memory",
    "KT6": "Throughput and cost",
}


def render_index() -> str:
    """Return a table of the rules by area, each with a link to its page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Rules"
    yield ""
    yield f"{len(RULES)} rules. `kaitoc explain CODE` shows a page; `make docs` writes this index."
    for prefix, title in AREAS.items():
        yield ""
        yield f"## {title} ({prefix})"
        yield ""
        yield "| Code | Name | Severity | Fix | What it finds |"
        yield "|---|---|---|---|---|"
        for rule in RULES:
            if rule.CODE.startswith(prefix):
                fix = rule.FIX.value if rule.FIX is not None else ""
                link = f"[{rule.NAME}](../rules/{page_path(rule).name})"
                yield f"| {rule.CODE} | {link} | {rule.SEVERITY.value} | {fix} | {summary(rule)} |"


if __name__ == "__main__":
    sys.stdout.write(render_index())
