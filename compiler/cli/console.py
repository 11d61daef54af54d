"""What commands tell the user beside their results."""

from __future__ import annotations

EXIT_USAGE = 2


def say(text: str) -> None:
    """Print a line on standard output."""
    _echo(text, err=False)


def complain(message: str) -> None:
    """Print a message for the user on standard error."""
    _echo(f"kaitoc: {message}", err=True)


def _echo(text: str, *, err: bool) -> None:
    import click  # takes long to import, and most checks have nothing to tell but their report

    click.echo(text, err=err)
