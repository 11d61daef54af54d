"""`kaitoc check`: find what is wrong with tuning manifests, and fix what can be fixed safely."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import ExitStack, closing
from typing import Any, TextIO

import click

from kaitoc.compiler.cli.completion import complete_format, complete_path
from kaitoc.compiler.cli.engines import engine_of
from kaitoc.compiler.cli.options import assumption_options
from kaitoc.compiler.cli.standard_input import check_standard_input, name_templates
from kaitoc.compiler.engine import Engine, find_files
from kaitoc.compiler.outcome import Outcome
from kaitoc.compiler.report import FORMATS, Target, default_format, emit, parse_target
from kaitoc.compiler.report.ledger import Accept, Ledger, Ledgers, Wanted
from kaitoc.compiler.report.model import RuleInfo
from kaitoc.compiler.settings import SettingsError
from kaitoc.compiler.source import UserError

EXIT_FINDINGS = 1
EXIT_USAGE = 2


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|-]", shell_complete=complete_path)
@assumption_options
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="F",
    shell_complete=complete_format,
    help=f"Output format, repeatable, each NAME or NAME=FILE: {', '.join(FORMATS)}.",
)
@click.option(
    "--output-file",
    metavar="FILE",
    shell_complete=complete_path,
    help="Write the report to a file instead of standard output.",
)
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
@click.option(
    "--baseline", metavar="FILE", shell_complete=complete_path, help="Leave out findings that a baseline file lists."
)
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
    if options["fix"] or options["diff"]:
        from kaitoc.compiler.cli.fix import fix_files, fix_standard_input

        fix = fix_standard_input if "-" in paths and not options["diff"] else fix_files
        return fix(engine, _check_all(paths, engine, options), options, targets)
    if "-" in paths:
        outcome = _check_all(paths, engine, options)
        name_templates(engine, outcome)
        return conclude(ledgers_of(outcome, options, targets), options, targets)
    return conclude(_check_files(_files(paths, engine, options), engine, options, targets), options, targets)


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


def _check_all(paths: tuple[str, ...], engine: Engine, options: dict[str, Any]) -> Outcome:
    """Check standard input or files, and hold everything that is found."""
    if "-" in paths:
        if options["changed_since"] is not None:
            raise SettingsError("--changed-since picks among files; git knows nothing of standard input (`-`)")
        return check_standard_input(paths, engine, options["stdin_filename"])
    return engine.check(_files(paths, engine, options))


def _files(paths: tuple[str, ...], engine: Engine, options: dict[str, Any]) -> list[str]:
    files = list(find_files(paths or (".",), engine.settings))
    if options["changed_since"] is None:
        return files
    from kaitoc.compiler.changed_files import changed_since

    changed = changed_since(options["changed_since"])
    return [file for file in files if os.path.realpath(file) in changed]


def _check_files(files: list[str], engine: Engine, options: dict[str, Any], targets: list[Target]) -> Ledgers:
    """Check files, in several processes where they are many, and put away what is found."""
    from kaitoc.compiler.parallel import Part, check_in_parallel, num_processes, split_paths

    wanted, accept = _wanted(options, targets), _accept(options)
    processes = num_processes(options["jobs"], len(files))
    parts = split_paths(files, processes)
    with ExitStack() as at_exit:
        ledgers = [Ledger(part, wanted, accept, on_disk=processes > 1) for part in parts]
        for ledger in ledgers:
            at_exit.callback(ledger.close)
        check_in_parallel(engine, [Part(ledger.paths, ledger) for ledger in ledgers])
        at_exit.pop_all()
    return Ledgers(ledgers, wanted, _rule_infos)


def ledgers_of(outcome: Outcome, options: dict[str, Any], targets: list[Target]) -> Ledgers:
    """Return what was found as the contents of a report."""
    wanted = _wanted(options, targets)
    ledger = Ledger([checked.path for checked in outcome.checked], wanted, _accept(options))
    for number, checked in enumerate(outcome.checked):
        ledger.keep(number, checked)
    return Ledgers([ledger], wanted, _rule_infos)


def _wanted(options: dict[str, Any], targets: list[Target]) -> Wanted:
    """Return the formats to make texts in; only SARIF numbers the rules."""
    formats = {} if options["statistics"] else {(one.format_name, _is_colored(one)): None for one in targets}
    codes: tuple[str, ...] = ()
    if any(name == "sarif" for name, _ in formats):
        from kaitoc.rules import RULES

        codes = tuple(rule.CODE for rule in RULES)
    return Wanted(tuple(formats), options["strict"], codes)


def _is_colored(target: Target) -> bool:
    return target.path is None and _wants_color()


def _accept(options: dict[str, Any]) -> Accept | None:
    """Return what leaves out the findings that a baseline lists."""
    if options["baseline"] is None:
        return None
    from kaitoc.compiler.baseline import load_baseline

    return load_baseline(options["baseline"]).new_among


def _rule_infos() -> tuple[RuleInfo, ...]:
    """Return what reports say about the rules; the pages of all take time to read."""
    from kaitoc.compiler.rule_pages import rule_infos

    return rule_infos()


def conclude(ledgers: Ledgers, options: dict[str, Any], targets: list[Target], stream: TextIO | None = None) -> int:
    """Write the report, to `stream` in place of standard output, and the notes; return the exit code."""
    with closing(ledgers):
        for message in (*ledgers.notes(), *ledgers.errors()):
            _complain(message)
        if options["statistics"]:
            _print_statistics(ledgers)
        else:
            _emit(ledgers, targets, stream or sys.stdout)
    if ledgers.num_errors:
        return EXIT_USAGE
    if ledgers.num_kaito_objects == 0:
        _complain("no Kaito object found in the given paths")
        if options["require"]:
            return EXIT_USAGE
    return EXIT_FINDINGS if ledgers.totals.failures and not options["exit_zero"] else 0


def _emit(ledgers: Ledgers, targets: list[Target], stream: TextIO) -> None:
    try:
        emit(ledgers, targets, stream, color=_wants_color())
    except BrokenPipeError:
        raise  # the reader has gone, as `head` does: nothing to complain about
    except OSError as error:
        where = error.filename or "the report"
        raise SettingsError(f"{where}: cannot be written: {error.strerror}") from error


def _print_statistics(ledgers: Ledgers) -> None:
    counts = Counter(ledgers.found_rules())
    for (code, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"{count:>6}  {code}  {name}")
    totals = ledgers.totals
    click.echo(f"{totals.findings:>6}  findings, {totals.errors} of them errors, in {totals.files} files")


def _wants_color() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def _complain(message: str) -> None:
    click.echo(f"kaitoc: {message}", err=True)
