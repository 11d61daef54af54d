"""Conditions between options are those that the libraries' sources raise on, where these ask for options alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaitoc.schemas import read_json
from kaitoc.schemas.generate import conditions
from kaitoc.schemas.generate.conditions import RELEASES, UnknownRaiseError, generated, is_named, raises, rendered

CONDITIONS = read_json("conditions/options")["conditions"]
BY_HAND = json.loads(Path(conditions.__file__).with_name("raises").joinpath("by_hand.json").read_text("utf-8"))
_Json = dict[str, Any]


def raised_over_options() -> Iterator[_Json]:
    """Yield what is raised where options alone are asked for, in any release."""
    for release in RELEASES:
        yield from (row for row in raises(release) if row.get("when"))


def test_the_file_is_what_the_generator_writes() -> None:
    assert generated(CONDITIONS) == CONDITIONS
    assert rendered(read_json("conditions/options")) == conditions.PATH.read_text(encoding="utf-8")


def test_each_raise_over_options_is_a_condition_or_has_a_reason() -> None:
    named = [*(entry["raised"] for entry in CONDITIONS if "raised" in entry), *BY_HAND["elsewhere"]]
    missing = [row for row in raised_over_options() if not any(is_named(row, raised) for raised in named)]

    assert missing == []


@pytest.mark.parametrize("raised", BY_HAND["elsewhere"])
def test_a_reason_is_of_a_raise_that_a_release_has(raised: str) -> None:
    assert any(is_named(row, raised) for row in raised_over_options())


def test_what_is_written_by_hand_says_why() -> None:
    written = [entry for entry in CONDITIONS if "raised" not in entry]
    without = [
        (entry["code"], entry["key"])
        for entry in written
        if not (
            entry["code"] in BY_HAND["rules"]
            or entry.get("stage") in BY_HAND["stages"]
            or entry["key"] in BY_HAND["keys"]
        )
    ]

    assert without == []
    assert set(BY_HAND["keys"]) <= {entry["key"] for entry in written}


def test_an_entry_that_names_an_unknown_raise_is_refused() -> None:
    with pytest.raises(UnknownRaiseError, match="no release raises"):
        generated([{"code": "KT460", "key": "seed", "raised": "transformers.training_args: there is no such message"}])
