"""A rule that is loaded late is silent about every job without what it is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from page_examples import engine_for, examples

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.faults import known_faults
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.job_rules import LateRule
from kaitoc.compiler.job.subjects import SITUATIONS, is_option, lacks, path_of
from kaitoc.compiler.kaito.arguments import ArgProblemKind
from kaitoc.compiler.manifest.object_schemas import object_schema
from kaitoc.rules import JOB_RULES, RULES
from kaitoc.schemas import read_json

LATE_RULES = JOB_RULES.late_rules()
WORKSPACE: Any = object_schema("kaito.sh/v1beta1", "Workspace", "v0.12")


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
    others = [job for job in jobs if late.subjects.isdisjoint(JOB_RULES.subjects_of(job))]

    assert len(others) < len(jobs), "no page has what the rule is about"
    assert [fault.message for job in others for fault in known_faults(rule, job)] == []


@pytest.mark.parametrize("late", LATE_RULES, ids=lambda late: late.module.rpartition(".")[2])
def test_a_late_rule_is_about_options_fields_and_situations_that_there_are(late: LateRule) -> None:
    paths = [path for subject in late.subjects - {*ArgProblemKind} if (path := path_of(subject))]

    assert late.subjects <= {*ArgProblemKind, *SITUATIONS, *paths, *(lacks(path) for path in paths)}
    assert [path for path in paths if not is_option(path) and not has_field(WORKSPACE, path)] == []


def has_field(schema: dict[str, Any], path: str) -> bool:
    first, _, rest = path.partition(".")
    below = schema["properties"].get(first)
    return below is not None and (not rest or has_field(below, rest))


def test_every_situation_has_a_rule_that_is_about_it() -> None:
    assert set(SITUATIONS) <= {subject for late in LATE_RULES for subject in late.subjects}


@pytest.mark.parametrize("late", LATE_RULES, ids=lambda late: late.module.rpartition(".")[2])
def test_a_late_rule_under_conditions_is_about_all_their_options(late: LateRule) -> None:
    keys = {
        entry["key"] for entry in read_json("conditions/options")["conditions"] if entry["code"] == late.load().CODE
    }
    options = {key if "." in key else f"TrainingArguments.{key}" for key in keys}

    assert late.module.endswith("null_value") or options <= late.subjects


def test_the_rules_that_are_asked_keep_their_order(jobs: list[Job]) -> None:
    everything = frozenset(subject for late in LATE_RULES for subject in late.subjects)

    assert list(JOB_RULES.about(everything)) == list(JOB_RULES)
    assert [
        rule for rule in JOB_RULES if rule in (asked := list(JOB_RULES.about(JOB_RULES.subjects_of(jobs[0]))))
    ] == asked
