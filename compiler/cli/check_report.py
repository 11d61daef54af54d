"""How a check ends: the report is written, the notes are told, and the exit code follows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import closing
from typing import Any, TextIO

import click

from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.job.settings import SettingsError
from kaitoc.compiler.report import Target, emit
from kaitoc.compiler.report.ledger import Accept, Ledger, Ledgers, Wanted

EXIT_FINDINGS = 1
EXIT_USAGE = 2


def ledgers_of(outcome: Outcome, options: dict[str, Any], targets: list[Target]) -> Ledgers:
    """Return what was found as the contents of a report."""
    wanted = wanted_texts(options, targets)
    ledger = Ledger([checked.path for checked in outcome.checked], wanted, accepted_by_baseline(options))
    for number, checked in enumerate(outcome.checked):
        ledger.keep(number, checked)
    return Ledgers([ledger], wanted, rule_infos_lazily)


def wanted_texts(options: dict[str, Any], targets: list[Target]) -> Wanted:
    """Return the formats to make texts in; only SARIF numbers the rules."""
    formats = {} if options["statistics"] else {(one.format_name, _is_colored(one)): None for one in targets}
    codes: tuple[str, ...] = ()
    if any(name == "sarif" for name, _ in formats):
        from kaitoc.rules import RULES

        codes = tuple(rule.CODE for rule in RULES)
    return Wanted(tuple(formats), options["strict"], codes)


def _is_colored(target: Target) -> bool:
    return target.path is None and _wants_color()


def accepted_by_baseline(options: dict[str, Any]) -> Accept | None:
    """Return what leaves out the findings that a baseline lists."""
    if options["baseline"] is None:
        return None
    from kaitoc.compiler.check.baseline import load_baseline

    return load_baseline(options["baseline"]).new_among


def rule_infos_lazily() -> tuple[RuleInfo, ...]:
    """Return what reports say about the rules; the pages of all take time to read."""
    from kaitoc.compiler.check.rule_pages import rule_infos

    return rule_infos()


def conclude(ledgers: Ledgers, options: dict[str, Any], targets: list[Target], stream: TextIO | None = None) -> int:
    """Write the report, to `stream` in place of standard output, and the notes; return the exit code."""
    with closing(ledgers):
        for message in (*ledgers.notes(), *ledgers.errors()):
            complain(message)
        if options["statistics"]:
            _print_statistics(ledgers)
        else:
            _emit(ledgers, targets, stream or sys.stdout)
    if ledgers.num_errors:
        return EXIT_USAGE
    if ledgers.num_kaito_objects == 0:
        complain("no Kaito object found in the given paths")
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


def complain(message: str) -> None:
    """Print a message for the user on standard error."""
    click.echo(f"kaitoc: {message}", err=True)
