"""`check` is held to what Kaito's own files did with every recorded configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from artefacts import artefact_of_stop, artefact_of_training, is_explained, known_artefacts
from judging import ADMISSION, Judge
from record import read_recording
from sampling import is_judged, whole_only

pytestmark = pytest.mark.slow
_Json = dict[str, Any]
RELEASES = ("v0.8", "v0.9", "v0.10", "v0.11", "v0.12")
MOST_MISSED = 0.01


@dataclass
class Comparison:
    """A release's records by what `check` says: of stops, those found, missed and artefacts; of others the errors."""

    found: list[_Json] = field(default_factory=list)
    missed: list[_Json] = field(default_factory=list)
    artefacts: dict[str, int] = field(default_factory=dict)
    false_errors: list[tuple[str, set[str]]] = field(default_factory=list)
    unlearned_without_error: list[str] = field(default_factory=list)

    @property
    def missed_share(self) -> float:
        return len(self.missed) / (len(self.found) + len(self.missed))


@cache
def comparison(release: str) -> Comparison:
    judge, compared = Judge(release), Comparison()
    for record in filter(lambda record: is_judged(record["id"]), read_recording("variants", release)):
        codes = {finding.code for finding in judge.errors(json.loads(record["id"]))}
        if any(code.startswith(ADMISSION) for code in codes):
            continue  # refused at admission, so that no job begins
        if record["verdict"] == "stopped":
            _add_stop(compared, record, codes)
        elif record["verdict"] == "unlearned" and not codes and not is_explained(record):
            compared.unlearned_without_error.append(record["id"])
        elif record["verdict"] == "trained" and codes:
            name = artefact_of_training(record, codes)
            if name:
                compared.artefacts[name] = compared.artefacts.get(name, 0) + 1
            else:
                compared.false_errors.append((record["id"], codes))
    return compared


def _add_stop(compared: Comparison, record: _Json, codes: set[str]) -> None:
    name = "" if codes else artefact_of_stop(record)
    if name:
        compared.artefacts[name] = compared.artefacts.get(name, 0) + 1
    else:
        (compared.found if codes else compared.missed).append(record)


@pytest.mark.parametrize("release", RELEASES)
def test_at_most_one_stop_in_a_hundred_is_missed(release: str) -> None:
    compared = comparison(release)

    assert compared.missed_share <= MOST_MISSED, [
        (record["id"], record["stage"], record.get("message")) for record in compared.missed
    ]


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_that_trains_is_an_error(release: str) -> None:
    assert comparison(release).false_errors == []


@pytest.mark.parametrize("release", RELEASES)
def test_success_without_a_result_is_an_error(release: str) -> None:
    assert comparison(release).unlearned_without_error == []


@whole_only
def test_every_artefact_is_met() -> None:
    """An artefact that no record needs is not kept."""
    met = {name for release in RELEASES for name in comparison(release).artefacts}
    named = {known["name"] for kind in ("stops", "trains") for known in known_artefacts()[kind]}

    assert named == met


def test_the_newest_release_is_recorded_in_full_breadth() -> None:
    records = read_recording("variants", "v0.12")

    assert len(records) >= 1500
    assert len({record["stage"] for record in records if record["verdict"] == "stopped"}) >= 12
