"""`kaitoc check`: find what is wrong with tuning manifests, and fix what can be fixed safely."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, TextIO

import click

from kaitoc.compiler.cli.engines import engine_of
from kaitoc.compiler.cli.options import assumption_options
from kaitoc.compiler.engine import Engine, Outcome, find_files
from kaitoc.compiler.findings import Finding, Severity
from kaitoc.compiler.report import FORMATS, Target, default_format, emit, parse_target
from kaitoc.compiler.report.model import Report, RuleInfo
from kaitoc.compiler.settings import SettingsError
from kaitoc.compiler.source import Source, UserError

EXIT_FINDINGS = 1
EXIT_USAGE = 2


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|-]")
@assumption_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="F",
    help=f"Output format, repeatable, each NAME or NAME=FILE: {', '.join(FORMATS)}.",
)
@click.option("--output-file", metavar="FILE", help="Write the report to a file instead of standard output.")
@click.option("--stdin-filename", metavar="NAME", default="<stdin>", help="Name for standard input in reports.")
@click.option("--select", multiple=True, metavar="C", help="Run only these rules (code, start of a code, or name).")
@click.option("--ignore", multiple=True, metavar="C", help="Leave these rules out.")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@click.option("--require", is_flag=True, help="Exit 2 when there is no Kaito object.")
@click.option("--fix", is_flag=True, help="Apply safe fixes.")
@click.option("--unsafe-fixes", is_flag=True, help="With --fix or --diff: apply fixes that may change the result too.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 even when there are findings.")
@click.option("--statistics", is_flag=True, help="Show how often each rule was found, instead of the findings.")
@click.option("--baseline", metavar="FILE", help="Leave out findings that a baseline file lists.")
@click.option("--changed-since", metavar="REV", help="Check only files changed since a git revision.")
@click.option("--isolated", is_flag=True, help="Ignore settings files.")
@click.option(
    "--jobs",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes to use (default: one, more above a size at which they pay).",
)
@click.pass_context  # fmt: skip
def check(ctx: click.Context, /, paths: tuple[str, ...], **options: Any) -> None:
    """Find what is wrong with tuning manifests.

    PATHS are files or folders (default: the current folder); - reads standard input.
    """
    try:
        ctx.exit(_run(paths, options))
    except UserError as error:
        _complain(str(error))
        ctx.exit(EXIT_USAGE)


def _run(paths: tuple[str, ...], options: dict[str, Any]) -> int:
    targets = _targets(options)
    engine = engine_of(options)
    outcome = _check(paths, engine, options, targets)
    if options["fix"] or options["diff"]:
        from kaitoc.compiler.cli.fix import fix_files, fix_standard_input

        fix = fix_standard_input if "-" in paths and not options["diff"] else fix_files
        return fix(engine, outcome, options, targets)
    if "-" in paths:
        _tell_origins(engine, outcome)
    return conclude(outcome, options, targets, report_of(outcome, options))


def _targets(options: dict[str, Any]) -> list[Target]:
    try:
        targets = [parse_target(value) for value in options["formats"] or (default_format(os.environ),)]
    except ValueError as error:
        raise SettingsError(str(error)) from error
    output = options["output_file"]
    if output is None:
        return targets
    if sum(target.path is None for target in targets) > 1:
        raise SettingsError("--output-file takes one format; write `--format NAME=FILE` for several")
    return [Target(target.format_name, target.path or output) for target in targets]


def _check(paths: tuple[str, ...], engine: Engine, options: dict[str, Any], targets: list[Target]) -> Outcome:
    if "-" in paths:
        if len(paths) > 1:
            raise SettingsError("`-` (standard input) cannot be mixed with paths")
        source = Source.decode(options["stdin_filename"], sys.stdin.buffer.read())
        engine.library.add_source(source)
        return engine.check([source.path])
    from kaitoc.compiler.parallel import check_in_parallel, num_processes

    files = list(find_files(paths or (".",), engine.settings))
    if options["changed_since"] is not None:
        from kaitoc.compiler.changed_files import changed_since

        changed = changed_since(options["changed_since"])
        files = [file for file in files if os.path.realpath(file) in changed]
    processes = num_processes(options["jobs"], len(files))
    if processes == 1:
        return engine.check(files)
    return check_in_parallel(engine, files, processes, _shower() if targets == [Target("text")] else None)


def _shower() -> Callable[[Finding], str]:
    """Return what makes the text of a finding for standard output."""
    from functools import partial

    from kaitoc.compiler.report.text import show

    return partial(show, color=_wants_color())


def _tell_origins(engine: Engine, outcome: Outcome) -> None:
    """Name the templates that standard input was rendered from, where it says so."""
    from kaitoc.compiler.rendered import tell_origins

    for path in outcome.files:
        outcome.findings = tell_origins(outcome.findings, engine.library.load(path))


def report_of(outcome: Outcome, options: dict[str, Any]) -> Report:
    """Return the report of an outcome."""
    findings = tuple(outcome.findings)
    num_known = 0
    if options["baseline"] is not None:
        from kaitoc.compiler.baseline import load_baseline

        findings, known, _ = load_baseline(options["baseline"]).filter(findings)
        num_known = len(known)
    return Report(
        findings=findings,
        jobs=tuple(outcome.jobs),
        rules=_rule_infos(options) if findings else (),
        files=tuple(outcome.files),
        num_suppressed=outcome.num_suppressed,
        num_baselined=num_known,
        shown=outcome.shown,
        strict=options["strict"],
    )


def _rule_infos(options: dict[str, Any]) -> tuple[RuleInfo, ...]:
    """Return what reports say about the rules; only SARIF holds their pages, and 120 files take time to read."""
    if not any(value.startswith("sarif") for value in options["formats"]):
        return ()
    from kaitoc.compiler.rule_pages import rule_infos

    return rule_infos()


def conclude(
    outcome: Outcome, options: dict[str, Any], targets: list[Target], report: Report, stream: TextIO | None = None
) -> int:
    """Write the report, to `stream` in place of standard output, and the notes; return the exit code."""
    for note in outcome.notes:
        _complain(note)
    for error in outcome.errors:
        _complain(error)
    if options["statistics"]:
        _print_statistics(report)
    else:
        try:
            emit(report, targets, stream or sys.stdout, color=_wants_color())
        except OSError as error:
            raise SettingsError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if outcome.errors:
        return EXIT_USAGE
    if outcome.num_kaito_objects == 0:
        _complain("no Kaito object found in the given paths")
        if options["require"]:
            return EXIT_USAGE
    failed = any(report.fails(finding) for finding in report.findings)
    return EXIT_FINDINGS if failed and not options["exit_zero"] else 0


def _print_statistics(report: Report) -> None:
    counts = Counter((finding.code, finding.name) for finding in report.findings)
    for (code, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"{count:>6}  {code}  {name}")
    num_errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    click.echo(f"{len(report.findings):>6}  findings, {num_errors} of them errors, in {len(report.files)} files")


def _wants_color() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def _complain(message: str) -> None:
    click.echo(f"kaitoc: {message}", err=True)
