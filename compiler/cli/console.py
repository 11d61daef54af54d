"""What commands tell the user, fitted to the terminal where there is one."""

from __future__ import annotations

import os
import sys

from kaitoc.compiler.core import progress, terminal
from kaitoc.compiler.core.escape import printable_lines

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def say(text: str, *, err: bool = False) -> None:
    """Print text on standard output or, with `err`, on standard error; colors stay, as who painted it wanted them."""
    import click  # takes long to import, and most checks have nothing to tell but their report

    columns = terminal_columns(err=err)
    if columns is not None:
        from kaitoc.compiler.core.folding import folded  # as above

        text = folded(text, columns)
    click.echo(text, err=err, color=True)


def complain(message: str) -> None:
    """Print a message for the user on standard error; what it quotes cannot steer the terminal."""
    say(f"kaitoc: {printable_lines(message)}", err=True)


def terminal_columns(*, err: bool = False) -> int | None:
    """Measure the terminal of standard output or standard error in columns, None when it is not a terminal."""
    return terminal.terminal_columns(sys.stderr if err else sys.stdout, os.environ)


def show_progress() -> None:
    """Let what takes long say on the terminal how far it is; nothing is shown where standard error is not one."""
    progress.show_progress(sys.stderr, os.environ)


def stopped() -> int:
    """Tell that Ctrl-C stopped a command, which says so nowhere else; return the exit code, that of a shell."""
    complain("stopped by Ctrl-C")
    return EXIT_INTERRUPTED
