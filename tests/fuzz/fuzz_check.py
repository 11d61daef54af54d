"""Runs the whole check on damaged manifests and holds it to what must always be true."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mutations import mutate

from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.core.edits import apply_edits, collect_edits, select_fixes
from kaitoc.compiler.core.findings import Applicability, Finding
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.report import FORMATS, render
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.rules import FILE_RULES, JOB_RULES, OBJECT_RULES

MAX_SECONDS = 1.0


@dataclass(frozen=True)
class Broken:
    """A seed whose manifest broke a promise, and which one."""

    seed: int
    promise: str


def fuzz(seeds: range, max_seconds: float = MAX_SECONDS) -> list[Broken]:
    """Return the promises that were broken: no exception, no hang, spans in the text, no fix that breaks YAML."""
    return [Broken(seed, promise) for seed in seeds for promise in _broken_promises(seed, max_seconds)]


def _broken_promises(seed: int, max_seconds: float) -> list[str]:
    start = time.process_time()
    try:
        source = Source.decode("fuzz.yaml", mutate(seed))
    except SourceError:
        return []
    try:
        findings = _check(source)
        found = _judge(source, findings, seed)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    seconds = time.process_time() - start
    return [*found, f"took {seconds:.1f} s"] if seconds > max_seconds else found


def _check(source: Source) -> list[Finding]:
    options = Overrides(model="phi-3-mini-128k-instruct", gpu="A10-24GB")
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES, OBJECT_RULES), options, SettingsFinder(isolated=True))
    engine.library.add_source(source)
    return engine.check([source.path]).findings


def _judge(source: Source, findings: list[Finding], seed: int) -> list[str]:
    broken = []
    for finding in findings:
        if not 0 <= finding.span.start <= finding.span.end <= len(source.text):
            broken.append(f"{finding.code}: a span outside the text")
        if "\n" in finding.message:
            broken.append(f"{finding.code}: a message of several lines")
    render(Report(findings=tuple(findings)), FORMATS[seed % len(FORMATS)])
    chosen, _ = select_fixes(findings, Applicability.UNSAFE)
    for edited, edits in collect_edits(chosen).items():
        text = apply_edits(edited, edits)
        if _num_broken(Source(edited.path, text)) > _num_broken(edited):
            broken.append(f"fixes of {sorted({one.code for one in chosen})} break the YAML")
    return broken


def _num_broken(source: Source) -> int:
    return sum(document.root is None for document in parse_documents(source))
