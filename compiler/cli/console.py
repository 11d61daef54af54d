"""What commands tell the user beside their results."""

from __future__ import annotations

import os
import sys

from kaitoc.compiler.core import progress

EXIT_USAGE = 2


def say(text: str) -> None:
    """Print a line on standard output."""
    _echo(text, err=False)


def complain(message: str) -> None:
    """Print a message for the user on standard error."""
    _echo(f"kaitoc: {message}", err=True)


def show_progress() -> None:
    """Let what takes long say on the terminal how far it is; nothing is shown where standard error is not one."""
    progress.show_progress(sys.stderr, os.environ)


def _echo(text: str, *, err: bool) -> None:
    import click  # takes long to import, and most checks have nothing to tell but their report

    click.echo(text, err=err)
