"""Writes the demo's training data: questions and answers about kaitoc's own rules, one conversation a line.

Run as `python examples/build_data.py` after a rule was added or renamed; a test holds the file to the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kaitoc.compiler.check.rule_pages import summary
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.job.faults import Rule
from kaitoc.rules import RULES

DATA = Path(__file__).parent / "data" / "kaitoc_rules.jsonl"
SYSTEM = "You explain the rules of kaitoc, the compiler for Kaito fine-tuning."
_FIXES = {
    Applicability.SAFE: "Yes, `kaitoc check --fix` applies a safe fix.",
    Applicability.UNSAFE: "Yes, with `kaitoc check --fix --unsafe-fixes`, since the result may change.",
    Applicability.DISPLAY: "kaitoc shows what to write, but leaves the change to you.",
    None: "No, only the author knows what was meant.",
}


def conversations(rule: Rule) -> Iterator[tuple[str, str]]:
    """Yield questions about a rule with their answers."""
    found = summary(rule).rstrip(".")
    yield f"What does {rule.CODE} find?", f"{rule.CODE} is `{rule.NAME}`. It finds this: {found}."
    yield f"Can kaitoc fix {rule.CODE}?", _FIXES[rule.FIX]


def rows() -> list[str]:
    """Return the data set's lines, in the order of the rules."""
    lines = []
    for rule in RULES:
        for question, answer in conversations(rule):
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
            lines.append(json.dumps({"messages": messages}, ensure_ascii=False))
    return lines


if __name__ == "__main__":
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text("\n".join(rows()) + "\n", encoding="utf-8")
