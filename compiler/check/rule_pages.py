"""The rules' pages: Markdown beside each rule, which is its documentation and its test."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.job.faults import Rule


def page_path(rule: Rule) -> Path:
    """Locate a rule's page: next to its module, with the same name."""
    module_file = sys.modules[getattr(rule, "__name__", "")].__file__
    return Path(module_file or "").with_suffix(".md")


def page_text(rule: Rule) -> str:
    """Return a rule's page in Markdown."""
    return page_path(rule).read_text(encoding="utf-8")


def find_rule(name: str) -> Rule | None:
    """Find a rule by code or name, in any case; None when there is none."""
    from kaitoc.rules import RULES

    wanted = name.strip().lower()
    return next((rule for rule in RULES if wanted in (rule.CODE.lower(), rule.NAME)), None)


def summary(rule: Rule) -> str:
    """Return in one line what a rule finds: its module's docstring."""
    return (sys.modules[getattr(rule, "__name__", "")].__doc__ or "").strip().partition("\n")[0]


@lru_cache(maxsize=1)
def rule_infos() -> tuple[RuleInfo, ...]:
    """Read name, summary and page of every rule, for report formats that describe rules."""
    from kaitoc.rules import RULES

    return tuple(RuleInfo(rule.CODE, rule.NAME, rule.SEVERITY, summary(rule), page_text(rule)) for rule in RULES)
