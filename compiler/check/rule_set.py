"""The rules that an engine runs."""

from __future__ import annotations

from collections.abc import Callable

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.faults import ClusterRule, FileRule, JobRule, ObjectRule, Rule, ServingRule


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules to run, by what they look at; those for servers and for runs of a plan are loaded for the first one."""

    file_rules: tuple[FileRule, ...]
    job_rules: tuple[JobRule, ...]
    object_rules: tuple[ObjectRule, ...] = ()
    serving_rules: Callable[[], tuple[ServingRule, ...]] = tuple
    cluster_rules: Callable[[], tuple[ClusterRule, ...]] = tuple

    @property
    def all(self) -> tuple[Rule, ...]:
        """Return all rules."""
        rules = (*self.file_rules, *self.object_rules, *self.job_rules)
        return (*rules, *self.serving_rules(), *self.cluster_rules())
