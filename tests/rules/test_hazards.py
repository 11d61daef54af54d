"""Each hazard of serving with Kaito: the manifest that shows it, the code at its line, and a manifest without it.

`hazards.json` numbers them. A hazard that no manifest shows says why. `findings` has the codes with the text of the
line that each is at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from served import INSTANCE, MODEL, server_manifest

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.check.engine_options import all_rules
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder

_Json = dict[str, Any]
HAZARDS: list[_Json] = json.loads((Path(__file__).parent / "hazards.json").read_text(encoding="utf-8"))
LATEST = "v0.12"


def cases(twin: str) -> Iterator[Any]:
    for hazard in HAZARDS:
        for number, case in enumerate(hazard.get("cases", ())):
            for release in case.get("releases", (LATEST,)):
                if twin in case:
                    yield pytest.param(case, release, id=f"{hazard['hazard']}-{number}-{release}")


@cache
def rules() -> RuleSet:
    return all_rules()


def findings(case: _Json, twin: str, release: str) -> list[Finding]:
    lines = case[twin]
    text = "".join(f"{line}\n" for line in lines)
    if not case.get("objects"):
        text = server_manifest(lines, case.get("model", MODEL), case.get("instance", INSTANCE))
    engine = Engine(rules(), Overrides(kaito_version=release, gpu=case.get("gpu")), SettingsFinder(isolated=True))
    engine.library.add_source(Source("server.yaml", text))
    return engine.check(["server.yaml"]).findings


def line_of(finding: Finding) -> str:
    return finding.source.line_text(finding.source.position(finding.span.start).line)


@pytest.mark.parametrize(("case", "release"), [*cases("bad")])
def test_a_hazard_is_found_at_its_line(case: _Json, release: str) -> None:
    found = findings(case, "bad", release)

    for code, place in case["findings"].items():
        assert any(one.code == code and place in line_of(one) for one in found), (code, found)


@pytest.mark.parametrize(("case", "release"), [*cases("good")])
def test_its_twin_is_silent(case: _Json, release: str) -> None:
    found = findings(case, "good", release)

    assert [one for one in found if one.code in case["findings"] or one.severity is not Severity.INFO] == []


def test_every_hazard_is_shown_or_says_why_not() -> None:
    names = [hazard["hazard"] for hazard in HAZARDS]

    assert set(names) == {f"I{number}" for number in range(1, 65)} - {"I28", "I29", "I49"}
    assert [one["hazard"] for one in HAZARDS if ("cases" in one) == ("unseen" in one)] == []
