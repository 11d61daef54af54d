"""How a check ends: the report is written, the notes are told, and the exit code follows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import closing
from typing import TextIO

from kaitoc.compiler.check.request import CheckRequest
from kaitoc.compiler.cli.console import EXIT_USAGE, complain, say
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report import ReportTarget, emit
from kaitoc.compiler.report.ledger import Ledgers, Wanted

EXIT_FINDINGS = 1


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Where reports go, whether statistics take their place, and which exit code follows."""

    targets: tuple[ReportTarget, ...]
    statistics: bool = False
    require: bool = False
    exit_zero: bool = False


def wanted_texts(report: CheckReport, request: CheckRequest) -> Wanted:
    """Return the formats to make texts in; only SARIF numbers the rules."""
    formats = (
        {} if report.statistics else {(target.format_name, _is_colored(target)): None for target in report.targets}
    )
    codes: tuple[str, ...] = ()
    if any(name == "sarif" for name, _ in formats):
        from kaitoc.rules import RULES  # 140 modules: a usage error needs none of them

        codes = tuple(rule.CODE for rule in RULES)
    return Wanted(tuple(formats), request.strict, codes)


def _is_colored(target: ReportTarget) -> bool:
    return target.path is None and _wants_color()


def conclude(ledgers: Ledgers, report: CheckReport, stream: TextIO) -> int:
    """Write the report, to `stream` where it goes to no file, and the notes; return the exit code."""
    with closing(ledgers):
        for message in (*ledgers.notes(), *ledgers.errors()):
            complain(message)
        if report.statistics:
            _print_statistics(ledgers)
        else:
            _emit(ledgers, report, stream)
    if ledgers.num_errors:
        return EXIT_USAGE
    if ledgers.num_kaito_objects == 0:
        complain("no Kaito object found in the given paths")
        if report.require:
            return EXIT_USAGE
    return EXIT_FINDINGS if ledgers.totals.failures and not report.exit_zero else 0


def _emit(ledgers: Ledgers, report: CheckReport, stream: TextIO) -> None:
    try:
        emit(ledgers, report.targets, stream, color=_wants_color())
    except BrokenPipeError:
        raise  # the reader has gone, as `head` does: nothing to complain about
    except OSError as error:
        where = error.filename or "the report"
        raise SettingsError(f"{where}: cannot be written: {error.strerror}", path=error.filename) from error


def _print_statistics(ledgers: Ledgers) -> None:
    counts = Counter(ledgers.found_rules())
    for (code, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        say(f"{count:>6}  {code}  {name}")
    totals = ledgers.totals
    say(f"{totals.findings:>6}  findings, {totals.errors} of them errors, in {totals.files} files")


def _wants_color() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()
