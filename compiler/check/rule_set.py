"""The rules that an engine runs."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import ClusterRule, FileRule, ObjectRule, Rule, ServingRule
from kaitoc.compiler.job.job_rules import JobRules


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules to run, by what they look at; some are loaded for the first file that they can find something in."""

    file_rules: tuple[FileRule, ...] = ()
    job_rules: JobRules = JobRules()
    object_rules: tuple[ObjectRule, ...] = ()
    serving_rules: Callable[[], tuple[ServingRule, ...]] = tuple
    cluster_rules: Callable[[], tuple[ClusterRule, ...]] = tuple

    @property
    def all(self) -> tuple[Rule, ...]:
        """List the rules of all kinds of subjects; loads those for servers and clusters."""
        rules = (*self.file_rules, *self.object_rules, *self.job_rules)
        return (*rules, *self.serving_rules(), *self.cluster_rules())


def names_of_rules() -> dict[str, str]:
    """Map rule codes to rule names; imports every rule module."""
    from kaitoc.rules import RULES  # all 170 modules: loaded when one is named

    return {rule.CODE: rule.NAME for rule in RULES}
