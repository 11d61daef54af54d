"""Wrong command lines in one line each, as kaitoc refuses everything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import IO, Any

import click

from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.wording import did_you_mean

_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)")


class WrongUsage(click.ClickException):
    """A command line that cannot be read."""

    exit_code = EXIT_USAGE

    def show(self, _file: IO[Any] | None = None) -> None:
        """Print the message as every command prints one."""
        complain(printable(self.message))


@contextmanager
def usage_in_one_line() -> Iterator[None]:
    """Turn what click says in four lines into one; help that is asked for by giving no argument stays."""
    try:
        yield
    except click.UsageError as error:
        if error.__class__.__name__ == "NoArgsIsHelpError":  # click's releases do not all export it
            raise
        raise WrongUsage(usage_message(error)) from error


def usage_message(error: click.UsageError) -> str:
    """Say what is wrong with a command line: the option or argument, what it takes, and which one was meant."""
    command = f"`{error.ctx.command_path}`" if error.ctx is not None else "`kaitoc`"
    if isinstance(error, click.NoSuchOption):
        return f"{command} has no option `{error.option_name}`{_nearest(error) or _see_help(error.ctx)}"
    if isinstance(error, click.BadOptionUsage):  # which has no context that knows the option
        return f"{error.option_name} {'takes no value' if 'not take' in error.message else 'needs a value'}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"{command} needs {_name_of(error.param)}{_see_help(error.ctx)}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_name_of(error.param)}: {error.message}"
    message = error.format_message()
    if extra := _EXTRA.match(message):
        return f"{command}: unexpected argument `{extra[1]}`{_see_help(error.ctx)}"
    return message[:1].lower() + message[1:].rstrip(".")


def _nearest(error: click.NoSuchOption) -> str:
    params = error.ctx.command.get_params(error.ctx) if error.ctx is not None else []
    names = (name for param in params for name in (*param.opts, *param.secondary_opts))
    known = {name.lstrip("-"): name for name in names if name.startswith("--")}
    close = get_close_matches(error.option_name.lstrip("-"), known, n=1, cutoff=0.7)
    return did_you_mean([known[word] for word in close])


def _name_of(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def _see_help(context: click.Context | None) -> str:
    return f" (see `{context.command_path} --help`)" if context is not None else ""
