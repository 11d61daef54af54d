"""The rules for jobs, and which of them to ask about one: half of all are about an option that few configs write."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TypeAlias, cast

from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.job.faults import JobRule
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.unknown_options import Unknown
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import TrainingConfig

Subject: TypeAlias = "str | ArgProblemKind"
"""An option that a config writes or may write, as `Section.name`, what the parser says of one, or `PRICES`."""
PRICES = "prices"
"""What an hour of an instance type costs, which settings may state."""
Subjects: TypeAlias = "frozenset[Subject]"


class LateRule(NamedTuple):
    """A rule, by the name of its module, that finds nothing in a job without one of its subjects."""

    module: str
    subjects: Subjects

    def load(self) -> JobRule:
        """Return the rule."""
        return cast("JobRule", import_module(self.module))


class JobRules:
    """The rules for jobs in order; those that are late are loaded for the first job that they can find something in."""

    def __init__(self, *rules: JobRule | LateRule) -> None:
        self._rules = rules

    def __iter__(self) -> Iterator[JobRule]:
        return (rule.load() if isinstance(rule, LateRule) else rule for rule in self._rules)

    def late_rules(self) -> tuple[LateRule, ...]:
        """Return the rules that are not asked about every job."""
        return tuple(rule for rule in self._rules if isinstance(rule, LateRule))

    def about(self, subjects: Subjects) -> Iterator[JobRule]:
        """Yield the rules that may find something in a job with some subjects."""
        for rule in self._rules:
            if not isinstance(rule, LateRule):
                yield rule
            elif not rule.subjects.isdisjoint(subjects):
                yield rule.load()


def subjects_of(job: Job) -> Subjects:
    """Return what late rules may be about in a job."""
    config = job.config
    subjects: Subjects = frozenset()
    if config is not None:
        subjects = config.memo.get(("subjects", job.args_release), lambda: _subjects_in(config, job))
    return subjects | {PRICES} if job.assumptions.prices.usd_per_hour else subjects


def _subjects_in(config: TrainingConfig, job: Job) -> Subjects:
    """Return what a job's config holds; jobs with configs of one text share it."""
    options = (option for section in config.sections for option in section.options)
    subjects: set[Subject] = {f"{option.section}.{option.name}" for option in options}
    for section, parse in job.parsed.items():
        for name, parsed in parse.values.items():
            if parsed.entry_index is not None or isinstance(parsed.value, Unknown):
                subjects.add(f"{section}.{name}")
        subjects.update(problem.kind for problem in parse.problems)
    return frozenset(subjects)
