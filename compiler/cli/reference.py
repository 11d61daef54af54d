"""The reference of all commands in Markdown: `python -m kaitoc.compiler.cli.reference > docs/cli.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc

import click

from kaitoc.compiler.cli import COMMANDS, cli

_OPTION_NAME = re.compile(r"(?<![\w`-])(--?[a-z][a-z-]*)(?![\w`-])")
"""An option in a help text."""


def render_reference() -> str:
    """Return a section for each command, with its arguments and options."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    context = click.Context(cli, info_name="kaitoc")
    yield "# Commands"
    yield ""
    yield "`kaitoc COMMAND --help` prints the same; `make docs` writes this page."
    yield ""
    yield from _paragraphs(cli.help)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            yield from _command_lines(click.Context(command, parent=context, info_name=name))


def _command_lines(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## kaitoc {command.name}"
    yield ""
    yield "```text"
    yield f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    yield "```"
    yield ""
    yield from _paragraphs(command.help)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]
    if options:
        yield "| Option | What it does |"
        yield "|---|---|"
        for option in options:
            yield _row(option, context)
        yield ""


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in cleandoc(text or "").split("\n\n"):
        yield _marked(paragraph)
        yield ""


def _row(option: click.Option, context: click.Context) -> str:
    """Return an option as a row: its names with the value's placeholder, then its help, default and bounds."""
    names, words = option.get_help_record(context) or ("", "")
    names = ", ".join(f"`{name}`" for name in names.split(" / ")) if option.secondary_opts else f"`{names}`"
    return f"| {_cell(names)} | {_cell(_marked(words))} |".replace("  ", " ")


def _marked(text: str) -> str:
    """Return a help text with the names of options as code, where they are not yet."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = (_OPTION_NAME.sub(r"`\1`", part) for part in parts[::2])
    return "`".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render_reference())
