"""The rules for jobs, and which of them to ask about one: most are about what few jobs have."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from kaitoc.compiler.core.annotations import cast
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.job.faults import JobRule
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.subjects import (
    NO_WORKSPACE,
    Subjects,
    is_option,
    path_of,
    subjects_of_fields,
    subjects_of_run,
    watched_fields,
)


class LateRule(NamedTuple):
    """A rule, by the name of its module, that finds nothing in a job without one of its subjects."""

    module: str
    subjects: Subjects

    def load(self) -> JobRule:
        """Import the rule's module and return the rule."""
        return cast("JobRule", import_module(self.module))


class JobRules:
    """The rules for jobs in order; those that are late are loaded for the first job that they can find something in."""

    def __init__(self, *rules: JobRule | LateRule) -> None:
        self._rules = rules
        paths = {path_of(subject) for rule in self.late_rules() for subject in rule.subjects} - {""}
        self._options = tuple(sorted(path for path in paths if is_option(path)))
        self._fields = watched_fields(tuple(path.split(".")) for path in paths if not is_option(path))

    def __iter__(self) -> Iterator[JobRule]:
        return (rule.load() if isinstance(rule, LateRule) else rule for rule in self._rules)

    def late_rules(self) -> tuple[LateRule, ...]:
        """Return the rules that are not asked about every job."""
        return tuple(rule for rule in self._rules if isinstance(rule, LateRule))

    def subjects_of(self, job: Job) -> Subjects:
        """Return the subjects of a job that late rules may be about."""
        return self.subjects_of_run(job) | self.subjects_of_workspace(job)

    def subjects_of_run(self, job: Job) -> Subjects:
        """Return the subjects that a job has by its run; equal runs share them."""
        return subjects_of_run(job, self._options)

    def subjects_of_workspace(self, job: Job) -> Subjects:
        """Return the subjects that a job has by its Workspace."""
        if job.workspace is None:
            return frozenset((NO_WORKSPACE,))
        return frozenset(subjects_of_fields(job.workspace.node, self._fields))

    def about(self, subjects: Subjects) -> Iterator[JobRule]:
        """Yield the rules that may find something in a job with some subjects."""
        for rule in self._rules:
            if not isinstance(rule, LateRule):
                yield rule
            elif not rule.subjects.isdisjoint(subjects):
                yield rule.load()
