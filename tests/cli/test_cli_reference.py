"""The reference of the commands in docs/ is the one that the commands give."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from kaitoc.compiler.cli import COMMANDS, cli
from kaitoc.compiler.cli.option_records import record_of
from kaitoc.compiler.cli.reference import render_reference
from kaitoc.compiler.core.records import dataclass

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


@dataclass(frozen=True, slots=True)
class Pair:
    one: int
    other: int


@dataclass(frozen=True, slots=True)
class Nested:
    pair: Pair
    name: str


def test_the_reference_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_in_its_section(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    section = PAGE.read_text(encoding="utf-8").partition(f"## kaitoc {name}\n")[2].partition("\n## ")[0]
    options = [option for one in command.params if isinstance(one, click.Option) for option in one.opts]
    assert [option for option in options if option not in section] == []


def test_parameters_become_a_record_and_the_records_in_it() -> None:
    parameters = {"one": 1, "other": 2, "name": "a"}
    assert record_of(Nested, parameters, {"pair": Pair}) == Nested(Pair(1, 2), "a")


def test_a_parameter_without_a_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no field for more"):
        record_of(Pair, {"one": 1, "other": 2, "more": 3}, {})


def test_a_field_without_a_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="other"):
        record_of(Pair, {"one": 1}, {})
