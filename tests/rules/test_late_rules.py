"""A rule that is loaded late is silent about every job without what it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from page_examples import engine_for, examples

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.faults import known_faults
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.job_rules import PRICES, LateRule, subjects_of
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.training_config import SECTIONS
from kaitoc.rules import JOB_RULES, RULES

LATE_RULES = JOB_RULES.late_rules()


def jobs_of_pages() -> Iterator[Job]:
    for rule in RULES:
        for number, example in enumerate(examples(rule)):
            engine = engine_for(example)
            source = Source(f"{rule.CODE}-{number}.yaml", example.text)
            engine.library.add_source(source)
            yield from engine.jobs_of(engine.library.load(source.path))


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    return list(jobs_of_pages())


@pytest.mark.parametrize("late", LATE_RULES, ids=lambda late: late.module.rpartition(".")[2])
def test_a_late_rule_finds_nothing_where_it_is_not_asked(late: LateRule, jobs: list[Job]) -> None:
    rule = late.load()
    others = [job for job in jobs if late.subjects.isdisjoint(subjects_of(job))]

    assert len(others) < len(jobs), "no page has what the rule is about"
    assert [fault.message for job in others for fault in known_faults(rule, job)] == []


@pytest.mark.parametrize("late", LATE_RULES, ids=lambda late: late.module.rpartition(".")[2])
def test_a_late_rule_is_about_options_of_sections(late: LateRule) -> None:
    options = late.subjects - {PRICES, *ArgProblemKind}

    assert {option.partition(".")[0] for option in options} <= set(SECTIONS)


def test_the_rules_that_are_asked_keep_their_order(jobs: list[Job]) -> None:
    everything = frozenset(subject for late in LATE_RULES for subject in late.subjects)

    assert list(JOB_RULES.about(everything)) == list(JOB_RULES)
    assert [rule for rule in JOB_RULES if rule in (asked := list(JOB_RULES.about(subjects_of(jobs[0]))))] == asked
