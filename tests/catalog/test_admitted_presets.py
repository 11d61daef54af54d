"""Presets are taken as Kaito's own `IsValidPreset` does, by the recording in `tests/oracle/webhook`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.catalog.admission import admission_of
from kaitoc.compiler.catalog.releases import all_releases

RECORDING = Path(__file__).parents[1] / "oracle" / "webhook" / "presets.jsonl"
ROWS = [json.loads(line) for line in RECORDING.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("release", [release.name for release in all_releases()])
def test_a_release_takes_the_presets_that_its_own_code_takes(release: str) -> None:
    taken = {row["name"] for row in ROWS if admission_of(release).takes_preset(row["name"])}

    assert taken == {row["name"] for row in ROWS if release in row["taken"]}


@pytest.mark.parametrize("release", [release.name for release in all_releases()])
def test_every_preset_of_a_release_can_be_served(release: str) -> None:
    known = admission_of(release)

    assert all(known.takes_preset(name) for name in known.presets)
