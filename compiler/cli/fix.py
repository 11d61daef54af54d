"""`kaitoc check --fix` and `--diff`: apply fixes to the files, or show what they would change."""

from __future__ import annotations

from typing import Any

import click

from kaitoc.compiler.edits import apply_edits, collect_edits, select_fixes, unified_diff
from kaitoc.compiler.engine import Engine, Outcome
from kaitoc.compiler.findings import Applicability
from kaitoc.compiler.report import Target
from kaitoc.compiler.source import Source, SourceError, write_atomically
from kaitoc.compiler.yaml_parser import parse_documents
from kaitoc.compiler.yaml_tree import ProblemKind

MAX_ROUNDS = 10
"""A fix can uncover another fault; after this many rounds something undoes itself, and we stop."""


def fix_files(engine: Engine, outcome: Outcome, options: dict[str, Any], targets: list[Target]) -> int:
    """Apply fixes and report what is left, or print a diff; return the exit code."""
    from kaitoc.compiler.cli.check import conclude, report_of

    allow = Applicability.UNSAFE if options["unsafe_fixes"] else Applicability.SAFE
    originals: dict[str, Source] = {}
    num_fixed = 0
    final = outcome
    texts: dict[str, str] = {}
    for _ in range(MAX_ROUNDS):
        changed, count = _fixed_texts(final, allow)
        if not changed:
            break
        num_fixed += count
        for source, text in changed.items():
            originals.setdefault(source.path, source)
            texts[source.path] = text
        final = _check_again(engine, outcome, originals, texts)
    if options["diff"]:
        for path, source in sorted(originals.items()):
            click.echo(unified_diff(source, texts[path]), nl=False)
        return int(bool(originals)) if not options["exit_zero"] else 0
    for path, source in sorted(originals.items()):
        _write(path, source, texts[path])
    if num_fixed:
        plural = "s" if num_fixed != 1 else ""
        click.echo(f"kaitoc: fixed {num_fixed} finding{plural} in {len(originals)} file(s)", err=True)
    return conclude(final, options, targets, report_of(final, options))


def _fixed_texts(outcome: Outcome, allow: Applicability) -> tuple[dict[Source, str], int]:
    """Return the changed texts by source; a change that would break the YAML is left out."""
    chosen, _ = select_fixes(outcome.findings, allow)
    texts = {}
    for source, edits in collect_edits(chosen).items():
        text = apply_edits(source, edits)
        if text != source.text and not _breaks_yaml(source, text):
            texts[source] = text
    num_fixed = sum(finding.source in texts for finding in chosen)
    return texts, num_fixed


def _breaks_yaml(before: Source, text: str) -> bool:
    after = Source(before.path, text, before.has_bom)
    return _num_syntax_errors(after) > _num_syntax_errors(before)


def _num_syntax_errors(source: Source) -> int:
    documents = parse_documents(source)
    return sum(problem.kind is ProblemKind.SYNTAX for document in documents for problem in document.problems)


def _check_again(engine: Engine, outcome: Outcome, originals: dict[str, Source], texts: dict[str, str]) -> Outcome:
    fresh = engine.fresh()
    for path, text in texts.items():
        fresh.library.add_source(Source(path, text, originals[path].has_bom))
    return fresh.check(outcome.files)


def _write(path: str, source: Source, text: str) -> None:
    try:
        write_atomically(path, source.encode(text))
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror or error}") from error
