"""Applies fixes until none is left: a fix can uncover another fault."""

from __future__ import annotations

from collections.abc import Iterable

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.edits import apply_edits, collect_edits, select_fixes
from kaitoc.compiler.core.findings import Applicability, Finding
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.tree import ProblemKind

MAX_ROUNDS = 10
"""After this many rounds something undoes itself, and we stop."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What fixing came to: the new texts by the sources they replace, the findings that went, and what is left."""

    texts: dict[Source, str]
    findings: tuple[Finding, ...]
    remaining: Outcome


def fix_until_stable(engine: Engine, outcome: Outcome, allow: Applicability) -> Fixed:
    """Fix what an engine found in the files of an outcome, without writing any."""
    originals: dict[str, Source] = {}
    texts: dict[str, str] = {}
    fixed: list[Finding] = []
    remaining = outcome
    for _ in range(MAX_ROUNDS):
        changed, chosen = _fixed_texts(remaining, allow)
        if not changed:
            break
        fixed += chosen
        for source, text in changed.items():
            originals.setdefault(source.path, source)
            texts[source.path] = text
        current = [Source(path, text, originals[path].has_bom) for path, text in texts.items()]
        remaining = _check_again(engine, outcome.files, current)
    return Fixed({originals[path]: text for path, text in texts.items()}, tuple(fixed), remaining)


def _fixed_texts(outcome: Outcome, allow: Applicability) -> tuple[dict[Source, str], list[Finding]]:
    """Return the changed texts by source and what they fix; a change that would break the YAML is left out."""
    chosen, _ = select_fixes(outcome.findings, allow)
    texts = {}
    for source, edits in collect_edits(chosen).items():
        text = apply_edits(source, edits)
        if text != source.text and not _breaks_yaml(source, text):
            texts[source] = text
    return texts, [finding for finding in chosen if finding.source in texts]


def _breaks_yaml(before: Source, text: str) -> bool:
    after = Source(before.path, text, before.has_bom)
    return _num_syntax_errors(after) > _num_syntax_errors(before)


def _num_syntax_errors(source: Source) -> int:
    documents = parse_documents(source)
    return sum(problem.kind is ProblemKind.SYNTAX for document in documents for problem in document.problems)


def _check_again(engine: Engine, files: list[str], changed: Iterable[Source]) -> Outcome:
    fresh = engine.fresh()
    fresh.library.take_context(engine.library, changed)
    return fresh.check(files)
