"""`kaitoc check`: find what is wrong with manifests, and fix what can be fixed safely."""

from __future__ import annotations

from collections.abc import Callable

import click

from kaitoc.compiler.cli.check_options import CheckOptions, run_check
from kaitoc.compiler.cli.completion import complete_format, complete_path
from kaitoc.compiler.cli.option_types import Integer
from kaitoc.compiler.cli.options import (
    F,
    color_option,
    judging_options,
    length_options,
    sharing_options,
    takes,
    with_options,
)
from kaitoc.compiler.report import FORMATS

_DEFAULTS = CheckOptions()
_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("--format", "-f", "formats", multiple=True, metavar="F", shell_complete=complete_format,
                 help=f"Output format, repeatable, each NAME or NAME=FILE: {', '.join(FORMATS)}."),
    click.option("--output-file", "-o", metavar="FILE", shell_complete=complete_path,
                 help="Write the report to a file instead of standard output."),
    click.option("--stdin-filename", metavar="NAME", default=_DEFAULTS.stdin_filename,
                 help="Name for standard input in reports."),
    click.option("--strict/--no-strict", default=None, help="Exit 1 on warnings too."),
    click.option("--require", is_flag=True, help="Exit 2 when there is no Kaito object."),
    click.option("--fix", is_flag=True, help="Apply safe fixes."),
    click.option("--unsafe-fixes", is_flag=True,
                 help="With --fix or --diff: also apply fixes that may change the result."),
    click.option("--diff", is_flag=True, help="Show what --fix would change, without changing it."),
    click.option("--exclude", "excludes", multiple=True, metavar="PATTERN",
                 help="Skip files and folders that match when folders are searched; repeatable."),
    click.option("--no-respect-gitignore", is_flag=True, help="Also search files that git ignores."),
    click.option("--exit-zero", is_flag=True, help="Exit 0 even when there are findings."),
    click.option("--quiet", "-q", is_flag=True, help="Print only findings."),
    click.option("--verbose", "-v", is_flag=True, help="List every job, and show what was read."),
    color_option,
    click.option("--show-files", is_flag=True, help="List the files that would be checked, without checking them."),
    click.option("--show-settings", is_flag=True, help="Show the settings of each path, without checking."),
    click.option("--show-effective", is_flag=True,
                 help="Show the command line of each server and where its values come from, without checking."),
    click.option("--show-fixes", is_flag=True, help="With --fix: list what was fixed."),
    click.option("--statistics", is_flag=True, help="Count findings by rule instead of listing them."),
    click.option("--baseline", metavar="FILE", shell_complete=complete_path,
                 help="Hide findings that a baseline file lists."),
    click.option("--changed-since", metavar="REV", help="Check only files changed since a git revision."),
    click.option("--jobs", type=Integer(min=0), default=_DEFAULTS.jobs, metavar="N",
                 help="Number of processes (default: one; more for large inputs)."),
)  # fmt: skip


def _length_options(command: F) -> F:
    return with_options(command, length_options)


def _check_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|-]", shell_complete=complete_path)
@judging_options
@sharing_options
@_length_options
@_check_options
@takes(CheckOptions)
def check(options: CheckOptions) -> int:
    """Find errors in Kaito manifests, for tuning and for serving.

    PATHS are files or folders (default: the current folder); - reads standard input.
    """
    return run_check(options)
