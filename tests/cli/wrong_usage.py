"""Command lines that are wrong in one way, drawn from the options that the commands have, and what is said of them."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import click

from kaitoc.compiler.cli import COMMANDS, cli, main

EXAMPLE = "demo.yaml"
WORDS = {
    "admit": [], "baseline": [EXAMPLE, "-o", "-"], "check": [EXAMPLE], "compile": [EXAMPLE],
    "estimate": ["--model", "phi-4", "--gpu", "A100-80GB"], "explain": ["KT401"], "gpus": [],
    "init": ["--model", "phi-4-mini-instruct"], "instances": [], "lsp": [], "models": [], "releases": [], "rules": [],
    "run": [EXAMPLE, "--dry-run"], "schema": ["plan"], "upgrade": ["--from", "v0.11", "--to", "v0.12", EXAMPLE],
    "webhook": ["--cert", "no-such.crt", "--key", "no-such.key"],
}  # fmt: skip
"""A command line of each command that ends by itself, in a folder of its own: options such as --fix write."""
BAD = ["", "-1", "0", "wrong", "nan", "1e999", "9" * 40, "a,b", "=", "x=", "{", "[1", "v0.99", "A1000", "no/such", "ÿ",
       "\x1b[31m", "~" * 300]  # fmt: skip


def enter(folder: Path) -> None:
    """Make a folder with the example the working folder."""
    shutil.copy(Path(__file__).parents[2] / "examples" / EXAMPLE, folder)
    os.chdir(folder)


def options_of(command: str) -> list[click.Option]:
    """Every option of a command but its help."""
    context = click.Context(cli)
    found = cli.get_command(context, command)
    assert found is not None
    return [one for one in found.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]


def takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def is_closed(option: click.Option) -> bool:
    """Whether the type of an option refuses words by itself."""
    return takes_value(option) and not isinstance(option.type, click.types.StringParamType)


def long_name(option: click.Option) -> str:
    return max(option.opts, key=len)


def wrong_lines(command: str) -> Iterator[tuple[str, list[str]]]:
    """Yield command lines that nothing can be made of, each with the option that has to be named."""
    words = [command, *WORDS[command]]
    for option in options_of(command):
        name = long_name(option)
        yield name, [*words, name + "x"]
        if takes_value(option):
            yield name, [*words, name]
        else:
            yield name, [*words, f"{name}=x"]
        if is_closed(option):
            yield name, [*words, name, "wrng"]


def drawn_lines(num_lines: int, seed: int) -> Iterator[list[str]]:
    """Yield command lines with up to three options, the values of some of which are no sensible ones."""
    draw = random.Random(seed)
    commands = [name for name in COMMANDS if options_of(name)]
    for _ in range(num_lines):
        command = draw.choice(commands)
        options = options_of(command)
        words = [command, *WORDS[command]]
        for option in draw.sample(options, min(len(options), draw.randint(1, 3))):
            words += [draw.choice(option.opts)]
            if takes_value(option):
                words += [_value(option, draw)]
        yield words


def _value(option: click.Option, draw: random.Random) -> str:
    if isinstance(option.type, click.Choice) and draw.random() < 0.7:
        return str(draw.choice(list(option.type.choices)))
    if isinstance(option.type, click.types._NumberRangeBase) and draw.random() < 0.7:
        return draw.choice(["1", "2", "8", "0.5", "64"])
    return draw.choice(BAD)


def answer(words: list[str], given: bytes = b"") -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a command line, run in this process on some input."""
    errors, output = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    code = 0
    with (
        patch.object(sys, "argv", ["kaitoc", *words]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    output.flush()
    return code, output.buffer.getvalue().decode(), errors.getvalue()  # type: ignore[attr-defined]


def complaint(words: list[str], naming: str = "") -> str:
    """Say how an answer is not that of a command that refuses in one line, empty where it is."""
    code, _, errors = answer(words)
    lines = [line for line in errors.splitlines() if not line.startswith("kaitoc: note: ")]
    if {"-v", "--verbose"} & {*words}:
        lines = lines[-1:]  # what it does was asked for
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback" in errors or "internal error" in errors:
        return errors
    if "\x1b" in errors:
        return f"the terminal is written to: {errors!r}"
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("kaitoc: ")):
        return f"{len(lines)} lines: {errors}"
    if naming and (code != 2 or naming not in errors):
        return f"exit code {code}, {naming} is not named: {errors}"
    return ""
