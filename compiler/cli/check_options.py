"""What `kaitoc check` is asked for, and the answer."""

from __future__ import annotations

import os
import sys

from kaitoc.compiler.api.checking import ledgers_of_files, ledgers_of_outcome
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import engine_of
from kaitoc.compiler.check.request import CheckRequest, files_of, name_templates
from kaitoc.compiler.cli.check_report import CheckReport, conclude, wanted_texts
from kaitoc.compiler.cli.option_records import JudgingOptions
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report import ReportTarget, default_format, parse_target
from kaitoc.compiler.report.ledger import Ledgers


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The command line of `kaitoc check`; the values are those of options left out."""

    paths: tuple[str, ...] = ()
    judging: JudgingOptions = JudgingOptions()
    formats: tuple[str, ...] = ()
    output_file: str | None = None
    stdin_filename: str = "<stdin>"
    strict: bool = False
    require: bool = False
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    exit_zero: bool = False
    statistics: bool = False
    baseline: str | None = None
    changed_since: str | None = None
    jobs: int = 0

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


def run_check(options: CheckOptions) -> int:
    """Check files, or fix them; return the exit code."""
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
