"""`kaitoc compile`: rewrite manifests into a configuration that is right, fits and is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import EXIT_USAGE, complain, say, show_progress
from kaitoc.compiler.cli.emit import EMIT_OPTIONS, EngineCommandOptions, emit
from kaitoc.compiler.cli.option_records import AssumptionOptions, rows_of
from kaitoc.compiler.cli.option_types import Choice
from kaitoc.compiler.cli.options import (
    F,
    assumption_options,
    color_option,
    config_option,
    isolated_option,
    length_options,
    takes,
)
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.compile.driver import describe_problem
from kaitoc.compiler.compile.model import Compilation, CompileError, CompileRequest, OutputError
from kaitoc.compiler.compile.output import in_place, into, write_all
from kaitoc.compiler.core.escape import printable_lines
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.passes.model import Goal, Preserve
from kaitoc.compiling import compiled, request_for

EXIT_CHANGES = 1
EXIT_REFUSED = 1

_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("-o", "--output", metavar="PATH", shell_complete=complete_path,
                 help="Write to a file (for one input), into a folder, or to standard output (`-`)."),
    click.option("--in-place", is_flag=True, help="Overwrite the input files."),
    click.option("--diff", is_flag=True, help="Show the changes without writing them; exit 1 if there are any."),
    click.option("--goal", "goals", type=Choice([goal.value for goal in Goal]), multiple=True,
                 default=(Goal.FIT.value,), show_default=True,
                 help="What to optimize: the smallest change that fits, speed, memory, or cost by --price."),
    click.option("--preserve", type=Choice([bound.value for bound in Preserve]), show_default=True,
                 default=Preserve.STATISTICAL.value, help="How much changes may affect the training result."),
    click.option("--attention", type=Choice(["eager", "sdpa", "flash"]),
                 help="Attention implementation where the manifest sets none (with --target bundled)."),
    click.option("--allow-workspace-edits", is_flag=True, help="Also allow changes to the Workspace's instance type."),
    click.option("--report", "reports", multiple=True, metavar="FILE", shell_complete=complete_path,
                 help="Write a report: FILE ends in .json, .md or .html; repeatable."),
    *length_options,
    color_option,
    config_option,
    isolated_option,
    *EMIT_OPTIONS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """The command line of `kaitoc compile`."""

    paths: tuple[str, ...]
    assumptions: AssumptionOptions
    output: str | None
    in_place: bool
    diff: bool
    goals: tuple[str, ...]
    preserve: str
    attention: str | None
    allow_workspace_edits: bool
    reports: tuple[str, ...]
    data: str | None
    lengths: str | None
    color: str
    config: str | None
    isolated: bool
    emit_engine: str | None
    engine: EngineCommandOptions
    shard_group: int | None

    @property
    def request(self) -> CompileRequest:
        """Return the request for the compiler.

        Raises `CompileError` for goals that contradict each other, `DataLengthError` and `LengthsError` for rows.
        """
        if len(set(self.goals)) > 1:
            raise CompileError(f"--goal {' and --goal '.join(self.goals)} are mutually exclusive")
        return request_for(
            replace(self.assumptions.overrides, attention=self.attention, rows=rows_of(self.data, self.lengths)),
            goal=Goal(self.goals[0]),
            preserve=Preserve(self.preserve),
            allow_workspace_edits=self.allow_workspace_edits,
            settings=EngineOptions(isolated=self.isolated, config=self.config).settings,
        )


def _compile_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("compile")
@click.argument("paths", nargs=-1, required=True, metavar="PATHS", shell_complete=complete_path)
@assumption_options
@_compile_options
@takes(CompileOptions, engine=EngineCommandOptions)
def compile_command(options: CompileOptions) -> int:
    """Rewrite manifests into a correct configuration that fits.

    PATHS are files, folders, or - for standard input, whose compiled text goes to standard output unless -o is given.
    For paths without -o, --in-place or --diff the report tells what would be changed.
    """
    try:
        if options.emit_engine is not None:
            _require_emittable(options)
            asked = options.engine.of(options.emit_engine, options.shard_group)
            return emit(options.paths, options.request, asked, None if _prints_text(options) else options.output)
        options.engine.require_none("--emit")
        if options.shard_group is not None:
            raise CompileError("--shard-group needs --emit")
        return _compile(options)
    except OutputError as error:
        complain(f"{error}; nothing written")
        return EXIT_REFUSED


def _compile(options: CompileOptions) -> int:
    from kaitoc.compiler.report.compile.formats import parse_report_path, write_report  # `--help` needs none of it
    from kaitoc.compiler.report.compile.text import render_text

    _require_one_output(options)
    reports = [parse_report_path(path) for path in options.reports]
    show_progress()
    result = compiled(inputs_from(options.paths), options.request)
    for note in (*result.notes, *result.missing, *map(str, result.errors)):
        complain(note)
    if result.errors or (result.missing and not result.jobs):
        return EXIT_USAGE
    for report in reports:
        write_report(report, result)
    if result.is_refused:
        _refuse(result)
        return EXIT_REFUSED
    text = render_text(result, color=_wants_color(options))
    if text:
        say(text.removesuffix("\n"), err=options.diff or _prints_text(options))
    if not result.jobs:
        complain("no Kaito object found in the given paths")
    return _emit(result, options)


def _emit(result: Compilation, options: CompileOptions) -> int:
    if options.diff:
        click.echo(_painted(result.diff, options), nl=False, color=True)
        return EXIT_CHANGES if result.diff else 0
    if _prints_text(options):
        click.echo(_only_text(result), nl=False)
    elif options.output is not None:
        write_all(into(options.output, result.files, options.paths))
    elif options.in_place:
        write_all(in_place(result.files))
    return 0


def _prints_text(options: CompileOptions) -> bool:
    """Return whether the compiled text itself goes to standard output, and the report to standard error."""
    return options.output == "-" or (options.paths == ("-",) and options.output is None and not options.diff)


def _only_text(result: Compilation) -> str:
    """Return the compiled text of the one file; raises `CompileError` where there are several."""
    if len(result.files) > 1:
        raise CompileError(f"-o -: {len(result.files)} files cannot be written to standard output at once; use -o DIR")
    return "".join(file.text for file in result.files)


def _painted(diff: str, options: CompileOptions) -> str:
    from kaitoc.compiler.report.style import Color, Style, wants_color  # as above

    return Style(wants_color(sys.stdout, os.environ, Color(options.color))).diff(diff)


def _require_emittable(options: CompileOptions) -> None:
    """Raise `CompileError` for options that say how to rewrite a file."""
    if options.in_place or options.diff:
        raise CompileError(
            "--emit is incompatible with --in-place and --diff: it writes other objects than the file holds"
        )
    if options.reports:
        raise CompileError(
            "--emit writes no report; use `kaitoc compile --target bundled --report FILE` for a report of "
            "the compilation"
        )
    if options.data is not None or options.lengths is not None:
        option = "--data" if options.data is not None else "--lengths"
        raise CompileError(f"--emit sizes the run by `max_length`; leave out {option}")
    if options.assumptions.overrides.target == "kaito":
        raise CompileError("--emit always runs the bundled runtime; remove --target")
    _require_one_output(options)


def _require_one_output(options: CompileOptions) -> None:
    if sum((options.output is not None, options.in_place, options.diff)) > 1:
        raise CompileError("-o, --in-place and --diff are mutually exclusive")
    if options.in_place and "-" in options.paths:
        raise CompileError("--in-place needs files; standard input is compiled to standard output, or to -o FILE")


def _refuse(result: Compilation) -> None:
    for problem in result.problems:
        complain(describe_problem(problem))
        if problem.help:
            say(printable_lines(f"    help: {problem.help}"), err=True)
    for job in result.jobs:
        if job.binding:
            complain(job.binding)
    complain("nothing written: resolve the errors above first")


def _wants_color(options: CompileOptions) -> bool:
    from kaitoc.compiler.report.style import Color, wants_color  # as above

    to_stderr = options.diff or _prints_text(options)
    return wants_color(sys.stderr if to_stderr else sys.stdout, os.environ, Color(options.color))
