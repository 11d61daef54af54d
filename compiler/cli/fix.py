"""`kaitoc check --fix` and `--diff`: apply fixes to the files, or show what they would change."""

from __future__ import annotations

import sys
from typing import Any

import click

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.fix_rounds import fix_until_stable
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.cli.check_report import conclude, ledgers_of
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.core.source import Source, SourceError, write_atomically
from kaitoc.compiler.report import Target


def fix_files(engine: Engine, outcome: Outcome, options: dict[str, Any], targets: list[Target]) -> int:
    """Apply fixes and report what is left, or print a diff; return the exit code."""
    allow = Applicability.UNSAFE if options["unsafe_fixes"] else Applicability.SAFE
    fixed = fix_until_stable(engine, outcome, allow)
    texts = sorted(fixed.texts.items(), key=lambda item: item[0].path)
    if options["diff"]:
        for source, text in texts:
            click.echo(unified_diff(source, text), nl=False)
        return int(bool(texts)) if not options["exit_zero"] else 0
    for source, text in texts:
        _write(source.path, source, text)
    if fixed.num_fixed:
        plural = "s" if fixed.num_fixed != 1 else ""
        click.echo(f"kaitoc: fixed {fixed.num_fixed} finding{plural} in {len(texts)} file(s)", err=True)
    return conclude(ledgers_of(fixed.remaining, options, targets), options, targets)


def fix_standard_input(engine: Engine, outcome: Outcome, options: dict[str, Any], targets: list[Target]) -> int:
    """Print standard input with its fixes, or as it is; what is left goes to standard error. No file is written."""
    fixed = fix_until_stable(engine, outcome, Applicability.UNSAFE if options["unsafe_fixes"] else Applicability.SAFE)
    for path in outcome.files:
        source = engine.library.load(path).source
        text = next((text for changed, text in fixed.texts.items() if changed.path == path), source.text)
        sys.stdout.buffer.write(source.encode(text))
    sys.stdout.flush()
    return conclude(ledgers_of(fixed.remaining, options, targets), options, targets, sys.stderr)


def _write(path: str, source: Source, text: str) -> None:
    try:
        write_atomically(path, source.encode(text))
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror or error}") from error
