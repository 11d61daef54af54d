"""Options mean the same in all commands: a command that has one of a group has it under the same names."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kaitoc.compiler.cli.group import COMMANDS, cli
from kaitoc.compiler.cli.option_types import Number

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "demo.yaml")
SAME_NAMES = [("--format", "-f"), ("--output", "-o"), ("--output-file", "-o"), ("--quiet", "-q"), ("--verbose", "-v")]
TOGETHER = [("--config", "--isolated"), ("--fix", "--diff")]


def names_of(command: str) -> set[str]:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_long_option_has_its_short_name_in_every_command(command: str) -> None:
    names = names_of(command) - ({"--output"} if command == "run" else set())  # a folder of results, not of texts

    assert [(long, short) for long, short in SAME_NAMES if long in names and short not in names] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_options_that_belong_together_are_there_together(command: str) -> None:
    names = names_of(command)

    assert [pair for pair in TOGETHER if len(names & set(pair)) == 1 and command != "compile"] == []


@pytest.mark.parametrize("command", [name for name in COMMANDS if {"--config", "--isolated"} <= names_of(name)])
def test_a_settings_file_and_no_settings_are_one_line_and_exit_code_2(command: str) -> None:
    words = {"upgrade": ["--from", "v0.11", "--to", "v0.12"], "webhook": ["--insecure-http"]}.get(command, [])
    paths = [] if command in ("lsp", "webhook", "admit") else [EXAMPLE]
    result = CliRunner().invoke(cli, [command, *paths, *words, "--isolated", "--config", "x.toml"], input="{}")

    assert result.exit_code == 2
    assert result.stderr == "kaitoc: --isolated and --config are mutually exclusive\n"


@pytest.mark.parametrize("words", [["--gpu", "A1000"], ["--select", "KT999X"], ["--kaito-version", "v0.99"]])
def test_the_language_server_refuses_options_that_name_nothing(words: list[str]) -> None:
    result = CliRunner().invoke(cli, ["lsp", *words])

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("words", [["compile", "--goal", "throughput", "--diff"], ["check"]])
def test_color_is_as_asked_whatever_the_environment_says(words: list[str]) -> None:
    colored = CliRunner().invoke(cli, [*words, EXAMPLE, "--color", "always"], env={"NO_COLOR": "1"})
    plain = CliRunner().invoke(cli, [*words, EXAMPLE, "--color", "never"], env={"FORCE_COLOR": "1"}, color=True)

    assert "\x1b[" in colored.stdout
    assert "\x1b[" not in plain.stdout
    assert click.unstyle(colored.stdout) == plain.stdout


def test_schemas_are_listed_as_json() -> None:
    listed = json.loads(CliRunner().invoke(cli, ["schema", "--format", "json"]).stdout)

    assert {"name": "plan", "title": "kaitoc plan, version 1"}.keys() == listed[0].keys()
    assert "training_config/v0.12" in [entry["name"] for entry in listed]


def test_a_schema_has_no_text_form() -> None:
    result = CliRunner().invoke(cli, ["schema", "plan", "--format", "text"])

    assert result.exit_code == 2
    assert result.stderr == "kaitoc: a schema has no text form; remove NAME or --format text\n"


def numbers() -> list[tuple[str, str]]:
    """List the options of all commands that take a number which need not be whole, by command."""
    commands = ((name, cli.get_command(click.Context(cli), name)) for name in COMMANDS)
    return [
        (name, max(option.opts, key=len))
        for name, command in commands
        if command is not None
        for option in command.params
        if isinstance(option.type, Number)
    ]


@pytest.mark.parametrize(("command", "option"), numbers())
def test_what_is_not_a_number_is_refused_by_its_bounds(command: str, option: str) -> None:
    result = CliRunner().invoke(cli, [command, option, "nan"])

    assert result.exit_code == 2
    assert f"{option}: expected a number " in result.stderr
    assert "got `nan`" in result.stderr
