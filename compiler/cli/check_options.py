"""What `kaitoc check` is asked for, and the answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kaitoc.checking import ledgers_of_files, ledgers_of_outcome
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.inputs import Inputs, Search
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.request import CheckRequest, files_of, name_templates
from kaitoc.compiler.cli.check_report import CheckReport, conclude, tell_what_is_read, wanted_texts
from kaitoc.compiler.cli.console import complain, say, show_progress, terminal_columns
from kaitoc.compiler.cli.option_records import JudgingOptions, SharingOptions, rows_of
from kaitoc.compiler.cli.standard_input import inputs_from
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.settings import Settings, SettingsError
from kaitoc.compiler.report import ReportTarget, default_format, parse_target
from kaitoc.compiler.report.ledger import Ledgers
from kaitoc.compiler.report.model import Verbosity
from kaitoc.compiler.report.style import Color
from kaitoc.compiler.yaml.placeholders import UnknownValueError


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """The command line of `kaitoc check`; the values are those of options left out."""

    paths: tuple[str, ...] = ()
    judging: JudgingOptions = JudgingOptions()
    sharing: SharingOptions = SharingOptions()
    data: str | None = None
    lengths: str | None = None
    formats: tuple[str, ...] = ()
    output_file: str | None = None
    stdin_filename: str = "<stdin>"
    strict: bool | None = None
    require: bool = False
    fix: bool = False
    unsafe_fixes: bool = False
    diff: bool = False
    excludes: tuple[str, ...] = ()
    no_respect_gitignore: bool = False
    exit_zero: bool = False
    quiet: bool = False
    verbose: bool = False
    color: str = Color.AUTO.value
    show_files: bool = False
    show_settings: bool = False
    show_effective: bool = False
    show_fixes: bool = False
    statistics: bool = False
    baseline: str | None = None
    changed_since: str | None = None
    jobs: int = 0

    @property
    def engine(self) -> EngineOptions:
        """Build the engine's options; raises `DataLengthError` and `LengthsError`."""
        engine = self.judging.engine
        overrides = replace(self.sharing.over(engine.overrides), rows=rows_of(self.data, self.lengths))
        return replace(engine, overrides=overrides)

    def request(self, settings: Settings) -> CheckRequest:
        """Return the request, with the settings where the options are silent."""
        return CheckRequest(
            self.engine,
            settings.strict if self.strict is None else self.strict,
            self.baseline,
            self.changed_since,
            self.jobs,
            Search(self.excludes, respect_gitignore=not self.no_respect_gitignore),
        )

    def report(self, settings: Settings) -> CheckReport:
        """Build the report's options; raises `SettingsError` for options that are mutually exclusive."""
        if self.quiet and self.verbose:
            raise SettingsError("--quiet and --verbose are mutually exclusive")
        if self.show_fixes and not self.fix:
            raise SettingsError("--show-fixes needs --fix")
        if self.fix and self.diff:
            raise SettingsError("--fix and --diff are mutually exclusive")
        if self.unsafe_fixes and not (self.fix or self.diff):
            raise SettingsError("--unsafe-fixes needs --fix or --diff")
        shown = [self.show_files, self.show_settings, self.show_effective]
        if sum(shown) > 1 or (any(shown) and (self.fix or self.diff or self.statistics)):
            raise SettingsError(
                "--show-files, --show-settings, --show-effective, --fix, --diff and --statistics are mutually exclusive"
            )
        verbosity = Verbosity.QUIET if self.quiet else Verbosity.VERBOSE if self.verbose else Verbosity.NORMAL
        return CheckReport(
            self._targets(settings.formats),
            self.statistics,
            self.require,
            self.exit_zero,
            self.show_fixes,
            verbosity,
            Color(self.color),
            self.baseline,
        )

    def _targets(self, formats: tuple[str, ...]) -> tuple[ReportTarget, ...]:
        try:
            targets = tuple(parse_target(value) for value in self.formats or formats or (default_format(os.environ),))
        except ValueError as error:
            raise SettingsError(str(error)) from error
        output = self.output_file
        if output in (None, "-"):
            return targets
        if sum(target.path is None for target in targets) > 1:
            raise SettingsError("--output-file takes one format; write `--format NAME=FILE` for several")
        return tuple(ReportTarget(target.format_name, target.path or output) for target in targets)


def run_check(options: CheckOptions) -> int:
    """Check files, fix them, or show what would be checked; return the exit code."""
    engine = engine_of(options.engine)
    settings = engine.settings_for(".")
    report, request = options.report(settings), options.request(settings)
    inputs = inputs_from(options.paths, options.stdin_filename)
    if options.show_settings:
        return _show_settings(engine, inputs)
    files = files_of(inputs, engine, request)
    if options.show_files:
        return _show_files(files)
    if options.show_effective:
        return _show_effective(engine, files)
    tell_what_is_read(report, settings, files)
    if report.verbosity is not Verbosity.QUIET:
        show_progress()
    if options.fix or options.diff:
        return _fix(engine, engine.check(files), inputs, options, request, report)
    return conclude(_found(engine, files, inputs, request, report), report, sys.stdout)


def _show_settings(engine: Engine, inputs: Inputs) -> int:
    from kaitoc.compiler.report.settings import settings_text  # seldom asked for

    say("\n\n".join(settings_text(path, engine.settings_for(path)) for path in inputs.paths or (".",)))
    return 0


def _show_effective(engine: Engine, files: Sequence[str]) -> int:
    """Show what each server is started with; what is not known yet keeps one from being shown."""
    from kaitoc.compiler.job.serving_link import link_serving_jobs  # seldom asked for, as is the report
    from kaitoc.compiler.report.effective import effective_lines

    num_shown = 0
    for path in files:
        file = engine.library.add_given(path)
        for server in link_serving_jobs(file, engine.library, engine.assumptions_for(path)):
            try:
                lines = list(effective_lines(server, terminal_columns()))
            except UnknownValueError as error:
                lines = [f"{server.manifest.ref.kind} {server.manifest.ref.name}: unknown, {error}"]
            say("\n".join(lines))
            num_shown += 1
    if not num_shown:
        complain("no server found in the given paths; --show-effective shows servers only")
    return 0


def _show_files(files: Sequence[str]) -> int:
    for path in files:
        say(path)
    return 0


def _found(engine: Engine, files: Sequence[str], inputs: Inputs, request: CheckRequest, report: CheckReport) -> Ledgers:
    """Return the findings, stored file by file."""
    wanted = wanted_texts(report, request)
    if inputs.text is None:
        return ledgers_of_files(engine, files, request, wanted)
    outcome = engine.check(files)
    name_templates(engine, outcome)
    return ledgers_of_outcome(outcome, request, wanted)


def _fix(
    engine: Engine,
    outcome: Outcome,
    inputs: Inputs,
    options: CheckOptions,
    request: CheckRequest,
    report: CheckReport,
) -> int:
    """Apply fixes or show them; return the exit code."""
    from kaitoc.compiler.cli.fix import fix_files, fix_standard_input, show_fixes  # seldom asked for
    from kaitoc.compiler.core.findings import Applicability

    allow = Applicability.UNSAFE if options.unsafe_fixes else Applicability.SAFE
    if options.diff:
        return show_fixes(engine, outcome, allow, report)
    apply = fix_files if inputs.text is None else fix_standard_input
    return apply(engine, outcome, allow, request, report)
