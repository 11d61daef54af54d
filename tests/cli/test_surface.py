"""The frozen surface: every command, option, rule code, JSON key and Python name. A change to it is one users see."""

from __future__ import annotations

import json
from pathlib import Path

import click

import kaitoc
from kaitoc.compiler.cli import COMMANDS, cli
from kaitoc.rules import RULES
from kaitoc.schemas import load_schema

SURFACE = Path(__file__).with_name("surface.json")


def options_of(command: click.Command) -> list[str]:
    names = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            names.append(parameter.name.upper() if parameter.name else "")
        else:
            names += [*parameter.opts, *parameter.secondary_opts]
    return sorted(names)


def report_keys() -> list[str]:
    schema = load_schema("report")
    keys = [f"{name}" for name in schema["properties"]]
    for name, definition in schema.get("$defs", {}).items():
        keys += [f"{name}.{key}" for key in definition.get("properties", {})]
    return sorted(keys)


def current_surface() -> dict[str, object]:
    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in sorted(COMMANDS)}
    return {
        "commands": {name: options_of(command) for name, command in commands.items() if command is not None},
        "rules": {rule.CODE: rule.NAME for rule in sorted(RULES, key=lambda rule: rule.CODE)},
        "report keys": report_keys(),
        "python": sorted(kaitoc.__all__),
    }


def test_the_surface_is_the_one_written_down() -> None:
    expected = json.loads(SURFACE.read_text(encoding="utf-8"))

    assert current_surface() == expected, "update tests/cli/surface.json: python tests/cli/test_surface.py"


def test_every_command_explains_itself() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str()


if __name__ == "__main__":
    SURFACE.write_text(json.dumps(current_surface(), indent=1) + "\n", encoding="utf-8")
