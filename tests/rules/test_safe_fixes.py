"""A safe fix removes its finding, brings in no error, and changes what Kaito trains with only where it says so."""

from __future__ import annotations

import pytest
from page_examples import Example, engine_for, examples

from kaitoc.compiler.core.edits import apply_edits
from kaitoc.compiler.core.findings import Applicability, Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.job import Job
from kaitoc.rules import RULES

FIXABLE = [
    example
    for rule in RULES
    if rule.FIX is Applicability.SAFE
    for example in examples(rule)
    if example.expected and not example.previous
]

Arguments = dict[tuple[str, str], object]


def judged(example: Example, text: str) -> tuple[Source, list[Finding], list[Arguments]]:
    """Return what is found in a text, and the arguments that Kaito's parser makes of its jobs."""
    source = Source("example.yaml", text)
    engine = engine_for(example)
    engine.library.add_source(source)
    outcome = engine.check([source.path])
    assert outcome.errors == []
    jobs = engine.jobs_of(engine.library.load(source.path))
    return source, outcome.findings, [arguments_of(job) for job in jobs]


def arguments_of(job: Job) -> Arguments:
    return {
        (section, name): found.value for section, parse in job.parsed.items() for name, found in parse.values.items()
    }


def is_same_kind(one: Finding, other: Finding) -> bool:
    return (one.code, one.message, one.pointer) == (other.code, other.message, other.pointer)


def named_by(finding: Finding) -> str:
    """Return all that a finding with its fix says, which must name what the fix changes."""
    assert finding.fix is not None
    written = " ".join(edit.replacement for edit in finding.fix.edits)
    return " ".join((finding.message, finding.help, finding.fix.title, finding.pointer, written))


@pytest.mark.parametrize("example", FIXABLE, ids=str)
def test_a_safe_fix_does_what_it_says_and_nothing_else(example: Example) -> None:
    source, before, arguments = judged(example, example.text)
    own = [f for f in before if f.code == example.code and f.fix and f.fix.applicability is Applicability.SAFE]

    for finding in own:
        assert finding.fix is not None
        text = apply_edits(source, [edit for edit in finding.fix.edits if edit.source.path == source.path])
        _, after, changed = judged(example, text)

        assert not any(is_same_kind(finding, other) for other in after)
        known = {(other.code, other.severity) for other in before}
        uncovered = [f for f in after if f.severity is Severity.ERROR and (f.code, f.severity) not in known]
        assert uncovered == []
        assert len(changed) == len(arguments)
        told = named_by(finding)
        for old, new in zip(arguments, changed, strict=True):
            moved = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} if old else set()
            assert {name for section, name in moved if name not in told and section not in told} == set()


def test_most_safe_rules_are_held_to_it() -> None:
    held = {example.code for example in FIXABLE}

    assert held == {rule.CODE for rule in RULES if rule.FIX is Applicability.SAFE}
