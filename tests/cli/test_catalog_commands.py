"""`kaitoc models`, `gpus`, `instances`, `releases`: every name that is listed is one that options take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from kaitoc.compiler.catalog.gpus import find_gpu, find_instance_type
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.catalog.releases import find_release
from kaitoc.compiler.cli import cli
from kaitoc.compiler.report.listing import listing


def listed(command: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(cli, [command, "--format", "json"])
    assert result.exit_code == 0, result.output
    entries: list[dict[str, Any]] = json.loads(result.stdout)
    return entries


@pytest.mark.parametrize(
    ("command", "find"),
    [("models", find_model), ("gpus", find_gpu), ("instances", find_instance_type), ("releases", find_release)],
)
def test_names_that_are_listed_are_found(command: str, find: Any) -> None:
    entries = listed(command)

    assert entries
    assert all(find(entry["name"]) is not None for entry in entries)


@pytest.mark.parametrize("command", ["models", "gpus", "instances", "releases"])
def test_the_table_has_a_line_for_each_entry(command: str) -> None:
    lines = CliRunner().invoke(cli, [command]).stdout.splitlines()

    assert [line.split("  ")[0] for line in lines[1:]] == [entry["name"] for entry in listed(command)]


def test_a_model_is_tunable_in_the_releases_that_init_writes_it_for() -> None:
    for entry in listed("models"):
        for release in listed("releases"):
            presets = {entry["name"], *entry["aliases"]} & set(release["tunable_presets"])
            assert (release["name"] in entry["tunable_in"]) == bool(presets), (entry["name"], release["name"])


def test_releases_without_a_gap_are_shown_as_a_range() -> None:
    lines = CliRunner().invoke(cli, ["models"]).stdout.splitlines()

    releases = [entry["name"] for entry in listed("releases")]
    assert any(f"{releases[0]} to {releases[-1]}" in line for line in lines)


HEADINGS, ROWS = ("NAME", "GPUS"), [("a" * 50, "1"), ("b", "20")]


def test_a_table_stays_one_where_it_fits() -> None:
    assert listing(HEADINGS, ROWS, 80).splitlines()[2] == "b" + " " * 51 + "20"


def test_a_table_becomes_a_list_where_a_narrow_terminal_cannot_hold_it() -> None:
    assert listing(HEADINGS, ROWS, 40).splitlines() == ["a" * 50, "  gpus: 1", "", "b", "  gpus: 20"]
