"""`kaitoc check`: find what is wrong with tuning manifests, and fix what can be fixed safely."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

import click

from kaitoc.compiler.check.engine import Engine, find_files
from kaitoc.compiler.check.engine_options import engine_of
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.cli.check_report import (
    accepted_by_baseline,
    complain,
    conclude,
    ledgers_of,
    rule_infos_lazily,
    wanted_texts,
)
from kaitoc.compiler.cli.completion import complete_format, complete_path
from kaitoc.compiler.cli.options import assumption_options, engine_options
from kaitoc.compiler.cli.standard_input import check_standard_input, name_templates
from kaitoc.compiler.core.source import UserError
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report import FORMATS, Target, default_format, parse_target
from kaitoc.compiler.report.ledger import Ledger, Ledgers

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
        complain(str(error))
        ctx.exit(EXIT_USAGE)


def _run(paths: tuple[str, ...], options: dict[str, Any]) -> int:
    targets = _targets(options)
    engine = engine_of(engine_options(options))
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
    from kaitoc.compiler.check.changed_files import changed_since

    changed = changed_since(options["changed_since"])
    return [file for file in files if os.path.realpath(file) in changed]


def _check_files(files: list[str], engine: Engine, options: dict[str, Any], targets: list[Target]) -> Ledgers:
    """Check files, in several processes where they are many, and put away what is found."""
    from kaitoc.compiler.check.parallel import Part, check_in_parallel, num_processes, split_paths

    wanted, accept = wanted_texts(options, targets), accepted_by_baseline(options)
    processes = num_processes(options["jobs"], len(files))
    parts = split_paths(files, processes)
    with ExitStack() as at_exit:
        ledgers = [Ledger(part, wanted, accept, on_disk=processes > 1) for part in parts]
        for ledger in ledgers:
            at_exit.callback(ledger.close)
        check_in_parallel(engine, [Part(ledger.paths, ledger) for ledger in ledgers])
        at_exit.pop_all()
    return Ledgers(ledgers, wanted, rule_infos_lazily)
