"""`kaitoc check`: find what is wrong with tuning manifests, and fix what can be fixed safely."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from kaitoc.compiler.api.checking import ledgers_of_files, ledgers_of_outcome
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import engine_of
from kaitoc.compiler.check.request import CheckRequest, files_of, name_templates
from kaitoc.compiler.cli.check_report import CheckReport, conclude, wanted_texts
from kaitoc.compiler.cli.completion import complete_format, complete_path
from kaitoc.compiler.cli.options import F, JudgingOptions, judging_options, takes
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report import FORMATS, ReportTarget, default_format, parse_target
from kaitoc.compiler.report.ledger import Ledgers

_OPTIONS: tuple[Callable[[F], F], ...] = (
    click.option("--format", "formats", multiple=True, metavar="F", shell_complete=complete_format,
                 help=f"Output format, repeatable, each NAME or NAME=FILE: {', '.join(FORMATS)}."),
    click.option("--output-file", metavar="FILE", shell_complete=complete_path,
                 help="Write the report to a file instead of standard output."),
    click.option("--stdin-filename", metavar="NAME", default="<stdin>", help="Name for standard input in reports."),
    click.option("--strict", is_flag=True, help="Exit 1 for warnings too."),
    click.option("--require", is_flag=True, help="Exit 2 when there is no Kaito object."),
    click.option("--fix", is_flag=True, help="Apply safe fixes."),
    click.option("--unsafe-fixes", is_flag=True,
                 help="With --fix or --diff: apply fixes that may change the result too."),
    click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing."),
    click.option("--exit-zero", is_flag=True, help="Exit 0 even when there are findings."),
    click.option("--statistics", is_flag=True, help="Show how often each rule was found, instead of the findings."),
    click.option("--baseline", metavar="FILE", shell_complete=complete_path,
                 help="Leave out findings that a baseline file lists."),
    click.option("--changed-since", metavar="REV", help="Check only files changed since a git revision."),
    click.option("--jobs", type=click.IntRange(min=0), default=0, metavar="N",
                 help="Processes to use (default: one, more above a size at which they pay)."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The command line of `kaitoc check`."""

    paths: tuple[str, ...]
    judging: JudgingOptions
    formats: tuple[str, ...]
    output_file: str | None
    stdin_filename: str
    strict: bool
    require: bool
    fix: bool
    unsafe_fixes: bool
    diff: bool
    exit_zero: bool
    statistics: bool
    baseline: str | None
    changed_since: str | None
    jobs: int

    @property
    def request(self) -> CheckRequest:
        """Return what to check for."""
        return CheckRequest(self.judging.engine, self.strict, self.baseline, self.changed_since, self.jobs)

    @property
    def report(self) -> CheckReport:
        """Return how the check ends; raises `SettingsError` for formats that contradict each other."""
        return CheckReport(self._targets(), self.statistics, self.require, self.exit_zero)

    def _targets(self) -> tuple[ReportTarget, ...]:
        try:
            targets = tuple(parse_target(value) for value in self.formats or (default_format(os.environ),))
        except ValueError as error:
            raise SettingsError(str(error)) from error
        output = self.output_file
        if output is None:
            return targets
        if sum(target.path is None for target in targets) > 1:
            raise SettingsError("--output-file takes one format; write `--format NAME=FILE` for several")
        return tuple(ReportTarget(target.format_name, target.path or output) for target in targets)


def _check_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATHS|-]", shell_complete=complete_path)
@judging_options
@_check_options
@takes(CheckOptions)
def check(options: CheckOptions) -> int:
    """Find what is wrong with tuning manifests.

    PATHS are files or folders (default: the current folder); - reads standard input.
    """
    report = options.report
    engine = engine_of(options.request.engine)
    if options.fix or options.diff:
        return _fix(engine, options, report)
    return conclude(_found(engine, options, report), report, sys.stdout)


def _found(engine: Engine, options: CheckOptions, report: CheckReport) -> Ledgers:
    """Return what is found, put away file by file."""
    inputs, request = inputs_from(options.paths, options.stdin_filename), options.request
    wanted, files = wanted_texts(report, request), files_of(inputs, engine, request)
    if inputs.text is None:
        return ledgers_of_files(engine, files, request, wanted)
    outcome = engine.check(files)
    name_templates(engine, outcome)
    return ledgers_of_outcome(outcome, request, wanted)


def _fix(engine: Engine, options: CheckOptions, report: CheckReport) -> int:
    """Apply fixes or show them; return the exit code."""
    from kaitoc.compiler.cli.fix import fix_files, fix_standard_input, show_fixes  # seldom asked for
    from kaitoc.compiler.core.findings import Applicability

    inputs, request = inputs_from(options.paths, options.stdin_filename), options.request
    allow = Applicability.UNSAFE if options.unsafe_fixes else Applicability.SAFE
    outcome = engine.check(files_of(inputs, engine, request))
    if options.diff:
        return show_fixes(engine, outcome, allow, report)
    apply = fix_files if inputs.text is None else fix_standard_input
    return apply(engine, outcome, allow, request, report)
