"""`kaitoc check --fix` and `--diff`: apply fixes to the files, or show what they would change."""

from __future__ import annotations

import sys
from collections import Counter

import click

from kaitoc.checking import ledgers_of_outcome
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.fix_rounds import Fixed, fix_until_stable
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.request import CheckRequest
from kaitoc.compiler.cli.check_report import CheckReport, conclude, wanted_texts
from kaitoc.compiler.cli.console import EXIT_USAGE, complain
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.core.source import Source, SourceError, write_atomically
from kaitoc.compiler.report.style import Style
from kaitoc.compiler.report.wording import plural


def show_fixes(engine: Engine, outcome: Outcome, allow: Applicability, report: CheckReport) -> int:
    """Print what fixes would change as a diff; return the exit code."""
    texts = _sorted(fix_until_stable(engine, outcome, allow))
    style = Style(report.wants_color())
    for error in outcome.errors:
        complain(str(error))
    for source, text in texts:
        click.echo(style.diff(unified_diff(source, text)), nl=False, color=True)
    if outcome.errors:
        return EXIT_USAGE
    return int(bool(texts)) if not report.exit_zero else 0


def fix_files(
    engine: Engine, outcome: Outcome, allow: Applicability, request: CheckRequest, report: CheckReport
) -> int:
    """Apply fixes and report what is left; return the exit code."""
    fixed = fix_until_stable(engine, outcome, allow)
    texts = _sorted(fixed)
    for source, text in texts:
        _write(source.path, source, text)
    if fixed.findings:
        complain(f"fixed {plural(len(fixed.findings), 'finding')} in {plural(len(texts), 'file')}")
    if report.show_fixes:
        _list_fixes(fixed)
    return conclude(ledgers_of_outcome(fixed.remaining, request, wanted_texts(report, request)), report, sys.stdout)


def fix_standard_input(
    engine: Engine, outcome: Outcome, allow: Applicability, request: CheckRequest, report: CheckReport
) -> int:
    """Print standard input with its fixes, or as it is; what is left goes to standard error. No file is written."""
    fixed = fix_until_stable(engine, outcome, allow)
    for path in outcome.files:
        source = engine.library.load(path).source
        text = next((text for changed, text in fixed.texts.items() if changed.path == path), source.text)
        sys.stdout.buffer.write(source.encode(text))
    sys.stdout.flush()
    return conclude(ledgers_of_outcome(fixed.remaining, request, wanted_texts(report, request)), report, sys.stderr)


def _list_fixes(fixed: Fixed) -> None:
    """Say which rules' findings were fixed in which file, and how often."""
    counts = Counter((finding.source.path, finding.code, finding.name) for finding in fixed.findings)
    for (path, code, name), count in sorted(counts.items()):
        complain(f"{path}: {count} x {code} {name}")


def _sorted(fixed: Fixed) -> list[tuple[Source, str]]:
    return sorted(fixed.texts.items(), key=lambda item: item[0].path)


def _write(path: str, source: Source, text: str) -> None:
    try:
        write_atomically(path, source.encode(text))
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror or error}", path=path) from error
