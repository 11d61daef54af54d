"""What is told of a rule wherever a finding names it, and the address of its page."""

from __future__ import annotations

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.records import dataclass

RULE_URL_BASE = "https://kaitoc.readthedocs.io/rules/"
HOME_URL = "https://kaitoc.readthedocs.io/"


def rule_url(code: str) -> str:
    """Return the address of a rule's page; it never changes once the rule is released."""
    return f"{RULE_URL_BASE}{code}"


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a report says about a rule.

    `summary` is one line; `description` is the longer Markdown text that editors and code scanning pages show.
    """

    code: str
    name: str
    severity: Severity
    summary: str = ""
    description: str = ""

    @property
    def url(self) -> str:
        """Return the address of the rule's page."""
        return rule_url(self.code)
