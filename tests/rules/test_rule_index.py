"""The index of the rules in docs/ is the one that the rules give."""

from __future__ import annotations

from pathlib import Path

from kaitoc.compiler.check.rule_index import render_index
from kaitoc.compiler.job import suppressions
from kaitoc.rules import RULES, unused_suppression

INDEX = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


def test_the_index_is_current() -> None:
    assert INDEX.read_text(encoding="utf-8") == render_index(), "run `make docs`"


def test_there_are_at_least_seventy_rules() -> None:
    assert len(RULES) >= 70


def test_unused_suppressions_go_by_the_rule_that_explains_them() -> None:
    assert (suppressions.CODE, suppressions.NAME) == (unused_suppression.CODE, unused_suppression.NAME)
