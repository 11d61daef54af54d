"""`kaitoc explain`: a page without what its test reads."""

from __future__ import annotations

import re

import pytest

from kaitoc.compiler.check.rule_pages import page_text
from kaitoc.compiler.report.rule_page import readable_page
from kaitoc.rules import RULES

PAGE = """# some-fault (KT499)

Words that are filled into the width of a terminal, from lines that are short
or long.

- an item whose words
  go on

```yaml model=phi-4 after-fix
r: 8 # error: [KT499]
```
"""


def test_a_page_for_a_pipe_is_markdown_without_marks() -> None:
    lines = readable_page(PAGE).split("\n")
    assert lines[-5:] == ["With `--model phi-4`, after `--fix`:", "", "```yaml", "r: 8", "```"]


def test_a_page_for_a_terminal_is_filled_and_indents_its_examples() -> None:
    assert readable_page(PAGE, 40).split("\n")[2:] == [
        "Words that are filled into the width of",
        "a terminal, from lines that are short or",
        "long.",
        "",
        "- an item whose words go on",
        "",
        "With `--model phi-4`, after `--fix`:",
        "",
        "    r: 8",
    ]


@pytest.mark.parametrize("columns", [None, 80])
def test_no_page_shows_a_mark(columns: int | None) -> None:
    for rule in RULES:
        assert not re.search(r"# (error|warning|info): \[|```yaml \S", readable_page(page_text(rule), columns)), (
            rule.CODE
        )


def test_no_prose_is_wider_than_the_terminal() -> None:
    for rule in RULES:
        for line in readable_page(page_text(rule), 80).split("\n"):
            assert len(line) <= 80 or line.startswith(("    ", "|", "#")) or " " not in line.lstrip("- "), line
