"""Every config on which Kaito's parser stops is an error of `check`; one that it parses breaks no rule of form."""

from __future__ import annotations

import random

import pytest
from mutated_configs import RELEASES, mutated, stops

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

pytestmark = pytest.mark.no_cover
NUM_CONFIGS = 120
OF_FORM = (Area.MANIFEST, Area.SCHEMA)
ALSO_OF_WHAT_COMES_LATER = ("KT205", "KT213")
"""Rules that keep their codes where the parser takes a text and the job stops on it later."""


def errors(text: str, release: str) -> list[Finding]:
    engine = Engine(
        RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), Overrides(kaito_version=release), SettingsFinder(isolated=True)
    )
    engine.library.add_source(Source("cm.yaml", text))
    return [finding for finding in engine.check(["cm.yaml"]).findings if finding.severity is Severity.ERROR]


def disagreement(text: str, release: str) -> str:
    """Return how `check` differs from the parser on a config, empty when it does not."""
    why, found = stops(text, release), errors(text, release)
    if why and not found:
        return f"{release}: nothing is found, but the parser stops: {why}\n{text}"
    of_form = [
        f"{finding.code} {finding.message}"
        for finding in found
        if area_of(finding.code) in OF_FORM and finding.code not in ALSO_OF_WHAT_COMES_LATER
    ]
    if of_form and not why:
        return f"{release}: {of_form} is found, but the parser goes on\n{text}"
    return ""


@pytest.mark.parametrize("release", RELEASES)
def test_check_stops_where_the_parser_stops(release: str) -> None:
    draw = random.Random(f"mutated {release}")

    found = [disagreement(mutated(draw), release) for _ in range(NUM_CONFIGS)]

    assert [one for one in found if one] == []


def test_the_configs_are_of_both_kinds() -> None:
    draw = random.Random("kinds")
    reasons = [stops(mutated(draw), "v0.12") for _ in range(NUM_CONFIGS)]

    assert sum(reason == "" for reason in reasons) > NUM_CONFIGS / 10
    assert len(set(reasons)) > 20
