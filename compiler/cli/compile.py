"""`kaitoc compile`: rewrite manifests into a configuration that is right, fits and is fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from kaitoc.compiler.check.engine import RuleSet, find_files
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.options import assumption_options, overrides
from kaitoc.compiler.compile.driver import compile_files, describe_problem
from kaitoc.compiler.compile.model import Compilation, CompileError, CompileRequest, OutputError
from kaitoc.compiler.compile.output import diff_text, in_place, into_folder, write_all
from kaitoc.compiler.core.source import SourceError
from kaitoc.compiler.job.assumptions import AssumptionError
from kaitoc.compiler.job.settings import SettingsError, SettingsFinder
from kaitoc.compiler.passes.model import Goal, PassContext, Preserve

EXIT_CHANGES = 1
EXIT_REFUSED = 1
EXIT_USAGE = 2

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-o", "--output", metavar="DIR", shell_complete=complete_path,
                 help="Write the compiled files into a folder, under their names."),
    click.option("--in-place", is_flag=True, help="Replace the files."),
    click.option("--diff", is_flag=True, help="Show the changes and write nothing; exit 1 when there are any."),
    click.option("--goal", "goals", type=click.Choice([goal.value for goal in Goal]), multiple=True,
                 default=(Goal.FIT.value,), show_default=True,
                 help="What to make best: the smallest change that fits, the speed, the memory, or the cost."),
    click.option("--preserve", type=click.Choice([bound.value for bound in Preserve]), show_default=True,
                 default=Preserve.STATISTICAL.value, help="How far changes may go from the result as written."),
    click.option("--attention", type=click.Choice(["eager", "sdpa", "flash"]),
                 help="Attention implementation where the manifest names none (with --target bundled)."),
    click.option("--price", type=click.FloatRange(min=0, min_open=True), metavar="P",
                 help="Price of the instance per hour, for the cost in the report."),
    click.option("--allow-workspace-edits", is_flag=True, help="Change the Workspace's instance type too."),
    click.option("--report", "reports", multiple=True, metavar="FILE", shell_complete=complete_path,
                 help="Write a report: FILE ends in .json, .md or .html; repeatable."),
    click.option("--isolated", is_flag=True, help="Ignore settings files."),
)  # fmt: skip


def _compile_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("compile")
@click.argument("paths", nargs=-1, required=True, metavar="PATHS", shell_complete=complete_path)
@assumption_options
@_compile_options
@click.pass_context
def compile_command(ctx: click.Context, /, paths: tuple[str, ...], **options: Any) -> None:
    """Rewrite manifests into a configuration that is right and fits.

    PATHS are files or folders. Without -o, --in-place or --diff the report tells what would be changed.
    """
    try:
        ctx.exit(_run(paths, options))
    except OutputError as error:
        _complain(f"{error}; nothing written")
        ctx.exit(EXIT_REFUSED)
    except (AssumptionError, CompileError, SettingsError, SourceError) as error:
        _complain(str(error))
        ctx.exit(EXIT_USAGE)


def _run(paths: tuple[str, ...], options: dict[str, Any]) -> int:
    from kaitoc.compiler.report.compile.formats import parse_report_path, write_report
    from kaitoc.compiler.report.compile.text import render_text

    _require_one_output(options)
    reports = [parse_report_path(path) for path in options["reports"]]
    request = request_of(options)
    result = compile_files(find_files(paths, request.settings), request)
    for note in (*result.notes, *result.errors):
        _complain(note)
    if result.errors:
        return EXIT_USAGE
    for report in reports:
        write_report(report, result)
    if result.is_refused:
        _refuse(result)
        return EXIT_REFUSED
    text = render_text(result, color=_wants_color(options))
    click.echo(text, nl=False, err=options["diff"])
    if not result.jobs:
        _complain("no Kaito object found in the given paths")
    return _emit(paths, result, options)


def _emit(paths: tuple[str, ...], result: Compilation, options: dict[str, Any]) -> int:
    if options["diff"]:
        difference = diff_text(result.files)
        click.echo(difference, nl=False)
        return EXIT_CHANGES if difference else 0
    if options["output"] is not None:
        write_all(into_folder(result.files, options["output"], paths))
    elif options["in_place"]:
        write_all(in_place(result.files))
    return 0


def _require_one_output(options: dict[str, Any]) -> None:
    chosen = [name for name in ("output", "in_place", "diff") if options[name]]
    if len(chosen) > 1:
        raise CompileError("-o, --in-place and --diff exclude each other")
    if options["output"] is not None and os.path.exists(options["output"]) and not os.path.isdir(options["output"]):
        raise CompileError(f"{options['output']}: not a folder; -o names the folder to write into")


def request_of(options: dict[str, Any]) -> CompileRequest:
    """Return what the command line asks the compiler for."""
    from kaitoc.rules import FILE_RULES, JOB_RULES

    context = PassContext(
        goal=_goal(options["goals"]),
        preserve=Preserve(options["preserve"]),
        job_rules=JOB_RULES,
        allow_workspace_edits=options["allow_workspace_edits"],
        price_per_hour=options["price"],
    )
    return CompileRequest(
        overrides(options, options["attention"]),
        SettingsFinder(isolated=options["isolated"]),
        RuleSet(FILE_RULES, JOB_RULES),
        context,
    )


def _goal(names: tuple[str, ...]) -> Goal:
    if len(set(names)) > 1:
        raise CompileError(f"--goal {' and --goal '.join(names)} contradict each other; give one")
    return Goal(names[0])


def _refuse(result: Compilation) -> None:
    for problem in result.problems:
        _complain(describe_problem(problem))
        if problem.help:
            click.echo(f"    {problem.help}", err=True)
    for job in result.jobs:
        if job.binding:
            _complain(job.binding)
    _complain("nothing written: no pass can repair this")


def _wants_color(options: dict[str, Any]) -> bool:
    from kaitoc.compiler.report.style import wants_color

    return wants_color(sys.stderr if options["diff"] else sys.stdout, os.environ)


def _complain(message: str) -> None:
    click.echo(f"kaitoc: {message}", err=True)
