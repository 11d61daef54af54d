"""What an upgrade of Kaito does to manifests: what breaks, and what runs differently though nobody changed it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from kaitoc.compiler.check.baseline import baseline_of
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.core.edits import apply_edits, collect_edits, select_fixes
from kaitoc.compiler.core.findings import Applicability, Finding, Fix, Severity
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.default_drift import ChangedDefault, changed_defaults, keeping_fix
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.serving_drift import changed_serving_defaults, keeping_serving_fix, starts
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_link import link_serving_jobs
from kaitoc.compiler.job.speed import throughput_of
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.yaml.placeholders import UnknownValueError

_MOST_ROUNDS = 10
"""More rounds of fixes than options that drift in one section need."""


@dataclass(frozen=True, slots=True)
class UpgradedJob:
    """One run before and after: its size, its speed in tokens per second, and the defaults that change under it.

    `ran_before` is false where the older release stops at its training config: there is nothing to keep then.
    """

    before: JobSummary
    after: JobSummary
    ran_before: bool
    tokens_per_second_before: float | None
    tokens_per_second_after: float | None
    changes: tuple[ChangedDefault, ...]


@dataclass(frozen=True, slots=True)
class UpgradedServer:
    """One server before and after; `ran_before` is false where the older release's vLLM does not start with it."""

    path: str
    title: str
    ran_before: bool
    changes: tuple[ChangedDefault, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What the newer release finds wrong and the older one did not, and the other way round; the runs and servers.

    `breaks` are errors, `warnings` the rest of what is new, `mended` errors of the older release that are gone.
    """

    breaks: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    mended: tuple[Finding, ...]
    jobs: tuple[UpgradedJob, ...]
    servers: tuple[UpgradedServer, ...]
    outcome_before: Outcome
    outcome: Outcome

    @property
    def changes(self) -> tuple[ChangedDefault, ...]:
        """Return the defaults that change in any run or server."""
        return tuple(chain.from_iterable([one.changes for one in self.jobs] + [one.changes for one in self.servers]))


def upgrade(before: Engine, after: Engine, paths: Sequence[str]) -> Upgrade:
    """Check files by two releases, each with an engine of its own, and compare; raises what a check raises."""
    old, new = before.check(paths), after.check(paths)
    added = _new_among(new.findings, old.findings)
    return Upgrade(
        breaks=tuple(finding for finding in added if finding.severity is Severity.ERROR),
        warnings=tuple(finding for finding in added if finding.severity is Severity.WARNING),
        mended=tuple(
            finding for finding in _new_among(old.findings, new.findings) if finding.severity is Severity.ERROR
        ),
        jobs=tuple(_jobs(before, after, old.files)),
        servers=tuple(_servers(before, after, old.files)),
        outcome_before=old,
        outcome=new,
    )


def keep_behaviour(after: Engine, found: Upgrade) -> dict[Source, str]:
    """Return the texts of files in which changed defaults are written and safe fixes of what breaks are made."""
    originals: dict[str, Source] = {}
    texts: dict[str, str] = {}
    broken = {(finding.code, finding.path) for finding in found.breaks}
    outcome = found.outcome
    for _ in range(_MOST_ROUNDS):
        breaks = [finding for finding in outcome.findings if (finding.code, finding.path) in broken]
        chosen, _ = select_fixes([*breaks, *_missing_lines(after, found)], Applicability.SAFE)
        changed = {source: apply_edits(source, edits) for source, edits in collect_edits(chosen).items()}
        if not changed:
            break
        for source, text in changed.items():
            originals.setdefault(source.path, source)
            texts[source.path] = text
        fresh = after.fresh()
        current = [Source(path, text, originals[path].has_bom) for path, text in texts.items()]
        fresh.library.take_context(after.library, current)
        after, outcome = fresh, fresh.check(found.outcome.files)
    return {originals[path]: text for path, text in texts.items() if text != originals[path].text}


def _missing_lines(after: Engine, found: Upgrade) -> Iterator[Finding]:
    """Yield the changed defaults that are not written yet, as findings that carry their fix."""
    jobs = (job for path in found.outcome.files for job in after.jobs_of(after.library.load(path)))
    for job, upgraded in zip(jobs, found.jobs, strict=True):
        for change in upgraded.changes:
            yield from _missing_line(change, keeping_fix(job, change), job.section_place(change.section))
    servers = (server for path in found.outcome.files for server in _servers_of(after, path))
    for server, served in zip(servers, found.servers, strict=True):
        for change in served.changes:
            yield from _missing_line(change, keeping_serving_fix(server, change), server.config_place)


def _missing_line(change: ChangedDefault, fix: Fix | None, place: Place) -> Iterator[Finding]:
    if fix is not None:
        yield Finding("", "changed-default", Severity.WARNING, change.option, place.source, place.span, fix=fix)


def errors_left(before: Outcome, now: Outcome) -> list[Finding]:
    """Return the errors of files that were fixed which the older release did not find in them."""
    return [finding for finding in _new_among(now.findings, before.findings) if finding.severity is Severity.ERROR]


def _new_among(findings: Iterable[Finding], known: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are not among those known, by what a baseline knows them by."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.source.path, []).append(finding)
    baseline = baseline_of(known, os.curdir)
    return [finding for listed in by_path.values() for finding in baseline.new_among(listed)]


def _jobs(before: Engine, after: Engine, paths: Sequence[str]) -> Iterator[UpgradedJob]:
    for path in paths:
        old_jobs, new_jobs = (engine.jobs_of(engine.library.load(path)) for engine in (before, after))
        for old, new in zip(old_jobs, new_jobs, strict=True):
            yield UpgradedJob(
                summarize(old), summarize(new), old.is_parsable, _speed(old), _speed(new), _changes(old, new)
            )


def _servers(before: Engine, after: Engine, paths: Sequence[str]) -> Iterator[UpgradedServer]:
    for path in paths:
        for old, new in zip(_servers_of(before, path), _servers_of(after, path), strict=True):
            ref = new.manifest.ref
            role = f", role {new.view.role}" if new.view is not None and new.view.role else ""
            ran_before, changes = _drift_of(old, new)
            yield UpgradedServer(path, f"{ref.kind} {ref.name}{role}", ran_before, changes)


def _servers_of(engine: Engine, path: str) -> Iterator[ServingJob]:
    return link_serving_jobs(engine.library.load(path), engine.library, engine.assumptions_for(path))


def _drift_of(before: ServingJob, after: ServingJob) -> tuple[bool, tuple[ChangedDefault, ...]]:
    """Return whether a server ran before, and what changes under it; what is not known yet is taken to run."""
    try:
        if not starts(before):
            return not before.uses_vllm, ()
        return True, tuple(changed_serving_defaults(before, after)) if after.uses_vllm else ()
    except UnknownValueError:
        return True, ()


def _speed(job: Job) -> float | None:
    try:
        predicted = throughput_of(job)
    except UnknownValueError:
        return None
    return predicted.tokens_per_second if predicted is not None else None


def _changes(before: Job, after: Job) -> tuple[ChangedDefault, ...]:
    """Return the defaults that change under a run that the older release takes; what it refuses has none to keep."""
    if not before.is_parsable:
        return ()
    try:
        return tuple(changed_defaults(before, after))
    except UnknownValueError:
        return ()
