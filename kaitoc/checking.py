"""Checks files or a text: as a report that is held as a whole, or put away file by file where there are many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions, engine_of
from kaitoc.compiler.check.inputs import TEXT_NAME, Inputs, PathsOrText, inputs_of
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.check.parallel import check_files
from kaitoc.compiler.check.request import CheckRequest, files_of, name_templates
from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.assumptions import NOTHING_STATED, Overrides
from kaitoc.compiler.report.ledger import Ledger, Ledgers, Wanted
from kaitoc.compiler.report.model import Report


def check(
    paths_or_text: PathsOrText = ".",
    *,
    assume: Overrides = NOTHING_STATED,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    isolated: bool = False,
    config: str | None = None,
    severity: Severity | None = None,
    strict: bool = False,
    baseline: str | None = None,
    changed_since: str | None = None,
    num_processes: int = 1,
    text_name: str = TEXT_NAME,
) -> Report:
    """Find what is wrong with manifests, as `kaitoc check` does.

    Names of files and folders, or the text of a manifest: a string with a line break is text, which reports call
    `text_name`. `isolated` ignores settings files, `config` is one that holds for all files, and nothing milder than
    `severity` is reported. `strict` lets warnings fail the report too, `changed_since` is a git revision, and
    `num_processes` 0 takes as many as pay.

    Raises `SourceError` for a file that cannot be read, `SettingsError` for a wrong settings file or selector,
    `AssumptionError` for a name that no catalog has, `BaselineError` and `GitError`.
    """
    engine = EngineOptions(assume, tuple(select), tuple(ignore), isolated, config, severity)
    return report_of(
        inputs_of(paths_or_text, text_name), CheckRequest(engine, strict, baseline, changed_since, num_processes)
    )


def report_of(inputs: Inputs, request: CheckRequest) -> Report:
    """Return everything that a check finds; raises what `check` raises."""
    engine = engine_of(request.engine)
    accepted = request.accepted()
    files = files_of(inputs, engine, request)
    outcomes = check_files(engine, files, request.num_processes, lambda _part, _is_shared: Outcome())
    notes: list[str] = []
    findings, num_suppressed, num_baselined, num_gone = [], 0, 0, 0
    for outcome in outcomes:
        for error in outcome.errors:
            raise error
        if inputs.text is not None:
            name_templates(engine, outcome)
        for checked in outcome.all_files():
            new = checked.findings if accepted is None else accepted.new_among(checked.findings)
            findings += new
            num_suppressed += checked.num_suppressed
            num_known = len(checked.findings) - len(new)
            num_baselined += num_known
            num_gone += accepted.num_gone(checked.path, num_known) if accepted is not None else 0
            notes += checked.all_notes
    return Report(
        findings=tuple(sorted(findings, key=lambda finding: finding.sort_key)),
        jobs=tuple(job for outcome in outcomes for job in outcome.jobs),
        describe_rules=rule_infos_lazily,
        files=tuple(path for outcome in outcomes for path in outcome.files),
        notes=tuple(dict.fromkeys(notes)),
        num_kaito_objects=sum(checked.num_kaito_objects for outcome in outcomes for checked in outcome.checked),
        num_suppressed=num_suppressed,
        num_baselined=num_baselined,
        num_gone=num_gone + (accepted.num_in_missing_files() if accepted is not None else 0),
        strict=request.strict,
    )


def ledgers_of_files(engine: Engine, files: Sequence[str], request: CheckRequest, wanted: Wanted) -> Ledgers:
    """Check files into the texts of reports; memory does not grow with their number."""
    accepted = request.accepted()
    with ExitStack() as at_failure:

        def ledger_of(part: Sequence[str], is_shared: bool) -> Ledger:
            ledger = Ledger(part, wanted, accepted, on_disk=is_shared)
            at_failure.callback(ledger.close)
            return ledger

        ledgers = check_files(engine, files, request.num_processes, ledger_of)
        at_failure.pop_all()
    return Ledgers(ledgers, wanted, rule_infos_lazily, accepted.num_in_missing_files() if accepted is not None else 0)


def ledgers_of_outcome(outcome: Outcome, request: CheckRequest, wanted: Wanted) -> Ledgers:
    """Turn an outcome into the texts of reports."""
    ledger = Ledger([checked.path for checked in outcome.checked], wanted, request.accepted())
    for number, checked in enumerate(outcome.checked):
        ledger.keep(number, checked)
    return Ledgers([ledger], wanted, rule_infos_lazily)


def rule_infos_lazily() -> tuple[RuleInfo, ...]:
    """Return the rules as reports describe them; reading all pages takes time."""
    from kaitoc.compiler.check.rule_pages import rule_infos  # reads 140 pages: for SARIF alone

    return rule_infos()
