"""How a check ends: the report is written, the notes are told, and the exit code follows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

from kaitoc.compiler.check.request import CheckRequest
from kaitoc.compiler.cli.console import EXIT_USAGE, complain, say
from kaitoc.compiler.core.annotations import TextIO
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.settings import Settings, SettingsError
from kaitoc.compiler.report import ReportTarget, emit
from kaitoc.compiler.report.ledger import Ledgers, Wanted
from kaitoc.compiler.report.model import Verbosity
from kaitoc.compiler.report.style import Color, wants_color
from kaitoc.compiler.report.wording import plural

EXIT_FINDINGS = 1


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Where reports go and what they tell, whether statistics take their place, and which exit code follows."""

    targets: tuple[ReportTarget, ...]
    statistics: bool = False
    require: bool = False
    exit_zero: bool = False
    show_fixes: bool = False
    verbosity: Verbosity = Verbosity.NORMAL
    color: Color = Color.AUTO
    baseline: str | None = None

    def wants_color(self) -> bool:
        """Return whether to color what goes to standard output."""
        return wants_color(sys.stdout, os.environ, self.color)


def wanted_texts(report: CheckReport, request: CheckRequest) -> Wanted:
    """Return the formats to make texts in; only SARIF numbers the rules."""
    formats = (
        {}
        if report.statistics
        else {(target.format_name, target.path is None and report.wants_color()): None for target in report.targets}
    )
    codes: tuple[str, ...] = ()
    if any(name == "sarif" for name, _ in formats):
        from kaitoc.rules import RULES  # 140 modules: a usage error needs none of them

        codes = tuple(rule.CODE for rule in RULES)
    return Wanted(tuple(formats), request.strict, codes)


def tell_what_is_read(report: CheckReport, settings: Settings, files: Sequence[str]) -> None:
    """Say, where it is asked for, which settings hold in the current folder and how many files are checked."""
    if report.verbosity is Verbosity.VERBOSE:
        complain(f"settings: {settings.path or 'none, so every default holds'}")
        complain(f"checking {plural(len(files), 'file')}")


def conclude(ledgers: Ledgers, report: CheckReport, stream: TextIO) -> int:
    """Write the report, to `stream` where it goes to no file, and the notes; return the exit code."""
    with closing(ledgers):
        notes = ledgers.notes() if report.verbosity is not Verbosity.QUIET else ()
        for message in (*notes, *ledgers.errors()):
            complain(message)
        if ledgers.totals.gone and report.verbosity is not Verbosity.QUIET:
            num_gone = plural(ledgers.totals.gone, "finding")
            complain(
                f"{report.baseline}: {num_gone} gone; `kaitoc baseline --update -o {report.baseline}` removes them"
            )
        is_nothing_read = bool(ledgers.num_errors) and not ledgers.totals.files
        if not report.statistics:
            _emit(ledgers, replace(report, verbosity=Verbosity.QUIET) if is_nothing_read else report, stream)
        elif not is_nothing_read:
            _print_statistics(ledgers)
    if ledgers.num_errors:
        return EXIT_USAGE
    if ledgers.num_kaito_objects == 0:
        if report.require or report.verbosity is not Verbosity.QUIET:
            complain("no Kaito object found in the given paths")
        if report.require:
            return EXIT_USAGE
    return EXIT_FINDINGS if ledgers.totals.failures and not report.exit_zero else 0


def _emit(ledgers: Ledgers, report: CheckReport, stream: TextIO) -> None:
    try:
        emit(ledgers, report.targets, stream, color=report.wants_color(), verbosity=report.verbosity)
    except BrokenPipeError:
        raise  # the reader has gone, as `head` does: nothing to complain about
    except OSError as error:
        if error.filename is None:
            raise  # standard output: told as for every command
        raise SettingsError(f"{error.filename}: cannot be written: {error.strerror}", path=error.filename) from error


def _print_statistics(ledgers: Ledgers) -> None:
    counts = Counter(ledgers.found_rules())
    for (code, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        say(f"{count:>6}  {code}  {name}")
    totals = ledgers.totals
    say(f"{totals.findings:>6}  findings, {totals.errors} of them errors, in {totals.files} files")
