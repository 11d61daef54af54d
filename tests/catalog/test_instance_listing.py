"""Instance types are looked up as Kaito's own `pkg/sku` does, by the recording in `tests/oracle/webhook`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaitoc.compiler.catalog.instance_listing import is_admitted_unlisted, listed_instance_type
from kaitoc.compiler.catalog.releases import Release, all_releases

RECORDING = Path(__file__).parents[1] / "oracle" / "webhook" / "instance_types.jsonl"
ROWS = [json.loads(line) for line in RECORDING.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("release", all_releases(), ids=lambda release: release.name)
def test_a_release_lists_what_its_own_code_lists(release: Release) -> None:
    listed = {row["name"] for row in ROWS if listed_instance_type(row["name"], release) is not None}

    assert listed == {row["name"] for row in ROWS if release.name in row["listed"]}


@pytest.mark.parametrize("release", all_releases(), ids=lambda release: release.name)
def test_the_webhook_takes_what_its_own_code_takes(release: Release) -> None:
    admitted = {
        row["name"]
        for row in ROWS
        if listed_instance_type(row["name"], release) is not None or is_admitted_unlisted(row["name"], release)
    }

    assert admitted == {row["name"] for row in ROWS if release.name in row["admitted"]}
