"""The driver of the passes: from paths to changed texts, with the evidence.

Passes see the text as it is after the change before: each round applies one change per file, reads the files again,
and asks again. What comes out is checked by the same rules as `kaitoc check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.outcome import Outcome
from kaitoc.compiler.compile.model import (
    AppliedChange,
    Compilation,
    CompiledFile,
    CompiledJob,
    CompileError,
    CompileRequest,
    Performance,
)
from kaitoc.compiler.compile.performance import performance_of
from kaitoc.compiler.compile.texts import breaks_yaml, changed_texts
from kaitoc.compiler.compile.verdict import binding_of, proposal_of
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.offsets import TextHistory
from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.missing_config import missing_config
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.training_config import Section
from kaitoc.compiler.passes import PASSES, passes_after
from kaitoc.compiler.passes.instance_type import missing_prices
from kaitoc.compiler.passes.model import Change, Goal, Pass, PassContext, known_changes
from kaitoc.compiler.yaml.tree import Scalar, Sequence

MAX_ROUNDS = 300
"""A bound far above what one manifest needs; a pass that undoes another would run into it."""

_JobKey = tuple[str, int]
_NULLS = ("", "~", "null", "Null", "NULL")


def compile_files(paths: Iterable[str], request: CompileRequest, sources: Iterable[Source] = ()) -> Compilation:
    """Compile files; nothing is written. `sources` are texts that stand in for files of their paths.

    Raises `AssumptionError` and `SettingsError` for what the user states wrongly, and `CompileError` when passes do
    not settle. Files that cannot be read are told in the result.
    """
    run = _Compiler(tuple(dict.fromkeys(paths)), request)
    run.current.update({source.path: source for source in sources})
    run.settle()
    return run.conclude()


@dataclass(slots=True)
class _Trail:
    """What happened to one job so far."""

    before: Job
    now: Job
    changes: list[AppliedChange] = field(default_factory=list)


@dataclass(slots=True)
class _Pending:
    """A change that a pass wants to make, not made yet."""

    key: _JobKey
    job: Job
    pass_name: str
    change: Change


@dataclass(slots=True)
class _Compiler:
    """The state of one compilation: the texts as they are now and what was done to each job."""

    paths: tuple[str, ...]
    request: CompileRequest
    originals: dict[str, Source] = field(default_factory=dict)
    histories: dict[str, TextHistory] = field(default_factory=dict)
    current: dict[str, Source] = field(default_factory=dict)
    trails: dict[_JobKey, _Trail] = field(default_factory=dict)
    library: Library = field(default_factory=Library)
    _impossible: set[tuple[_JobKey, str, str]] = field(default_factory=set)
    _settled: dict[_JobKey, tuple[Source, ...]] = field(default_factory=dict)

    def settle(self) -> None:
        """Apply changes until no pass has any."""
        jobs = self._read()
        for _ in range(MAX_ROUNDS):
            pending = list(self._wanted(jobs))
            if not pending:
                return
            applied = self._apply(pending)
            jobs = self._read()
            self._account(applied, jobs)
        last = pending[0]
        raise CompileError(
            f"{last.job.manifest.source.path}: the passes do not settle; {last.pass_name} would change "
            f"{last.change.what} without end",
            path=last.job.manifest.source.path,
        )

    def conclude(self) -> Compilation:
        """Judge the texts and gather what was done."""
        outcome = self._engine().check(self.paths)
        problems = [finding for finding in outcome.findings if finding.severity is Severity.ERROR]
        return Compilation(
            files=tuple(self._files(outcome)),
            jobs=tuple(self._compiled_jobs()),
            problems=tuple(problems),
            notes=(*(checked.note for checked in outcome.checked if checked.note), *self._missing_prices()),
            missing=tuple(message for trail in self.trails.values() if (message := missing_config(trail.now))),
            errors=tuple(outcome.errors),
            goal=self.request.goal,
        )

    def _engine(self) -> Engine:
        engine = Engine(self.request.rule_set, self.request.overrides, self.request.settings)
        for source in self.current.values():
            engine.library.add_source(source)
        return engine

    def _read(self) -> dict[_JobKey, Job]:
        """Read all files as they are now and return their jobs; a file that cannot be read is told at the end."""
        engine = self._engine()
        self.library = engine.library
        files = []
        for path in self.paths:
            with suppress(SourceError):
                files.append(engine.library.add_given(path))
        jobs: dict[_JobKey, Job] = {}
        for file in files:
            self._remember(file.source)
            for index, job in enumerate(engine.jobs_of(file)):
                jobs[file.source.path, index] = job
        for key, job in jobs.items():
            self.trails.setdefault(key, _Trail(job, job)).now = job
            for source in _sources(job):
                self._remember(source)
        return jobs

    def _has_config_map(self, name: str, near: Manifest) -> bool:
        return self.library.config_map(name, near) is not None

    def _remember(self, source: Source) -> None:
        """Keep a file's text, so that no round reads it from disk again."""
        self.originals.setdefault(source.path, source)
        self.current.setdefault(source.path, source)

    def _wanted(self, jobs: dict[_JobKey, Job]) -> Iterator[_Pending]:
        """Yield the next change of each job, at most one per file."""
        touched: set[str] = set()
        for key, job in jobs.items():
            if self._settled.get(key) == _sources(job):
                continue
            context = replace(self.request.context, siblings=_siblings(job, jobs), has_config_map=self._has_config_map)
            wanted = next((candidate for candidate in _changes(job, context) if self._is_open(key, candidate[1])), None)
            if wanted is None:
                self._settled[key] = _sources(job)
                continue
            step, change = wanted
            paths = {edit.source.path for edit in change.edits}
            if not paths & touched:
                touched |= paths
                yield _Pending(key, job, step.NAME, change)

    def _is_open(self, key: _JobKey, change: Change) -> bool:
        return (key, change.what, change.after) not in self._impossible

    def _apply(self, pending: list[_Pending]) -> list[_Pending]:
        """Apply changes to the texts and return those that could be; one that would break the YAML is left out."""
        applied = []
        for wanted in pending:
            texts = changed_texts(wanted.change)
            if texts is None or any(breaks_yaml(source, text) for source, text in texts.items()):
                self._impossible.add((wanted.key, wanted.change.what, wanted.change.after))
                continue
            applied.append(wanted)
            for source, text in texts.items():
                self.current[source.path] = Source(source.path, text, source.has_bom)
        return applied

    def _account(self, pending: list[_Pending], jobs: dict[_JobKey, Job]) -> None:
        """Note the changes that were made, with what they are predicted to give."""
        for wanted in pending:
            after = jobs.get(wanted.key, wanted.job)
            applied = self._applied(wanted, performance_of(wanted.job), performance_of(after))
            trail = self.trails[wanted.key]
            if sum(_is_same(applied, earlier) for earlier in trail.changes) > 1:
                raise CompileError(
                    f"{applied.path}:{applied.position.line}: {applied.what} cannot be changed here",
                    path=applied.path,
                    line=applied.position.line,
                    column=applied.position.column,
                )
            trail.changes.append(applied)
        for wanted in pending:
            for source in {edit.source for edit in wanted.change.edits}:
                self.histories.setdefault(source.path, TextHistory()).add(source, wanted.change.edits)

    def _applied(self, wanted: _Pending, before: Performance, after: Performance) -> AppliedChange:
        change, place = wanted.change, wanted.change.place
        history = self.histories.get(place.source.path, TextHistory())
        original = self.originals.get(place.source.path, place.source)
        span = history.original_span(place.span)
        return AppliedChange(
            pass_name=wanted.pass_name,
            what=change.what,
            before=change.before,
            after=change.after,
            reason=change.reason,
            preserves=change.preserves,
            path=place.source.path,
            position=original.position(min(span.start, len(original.text))),
            end=original.position(min(span.end, len(original.text))),
            pointer=place.pointer,
            code=change.code,
            performance_before=before,
            performance_after=after,
        )

    def _compiled_jobs(self) -> Iterator[CompiledJob]:
        jobs = {key: trail.now for key, trail in self.trails.items()}
        for trail in self.trails.values():
            if missing_config(trail.now):
                continue
            context = replace(self.request.context, siblings=_siblings(trail.now, jobs))
            yield CompiledJob(
                before=summarize(trail.before),
                after=summarize(trail.now),
                performance_before=performance_of(trail.before),
                performance_after=performance_of(trail.now),
                changes=tuple(trail.changes),
                binding=binding_of(trail.now, context),
                proposal=proposal_of(trail.now, context),
            )

    def _missing_prices(self) -> Iterator[str]:
        """Yield what keeps runs from being compared by cost, where that is the goal."""
        if self.request.goal is Goal.COST:
            context = self.request.context
            notes = (missing_prices(trail.now, context) for trail in self.trails.values())
            yield from dict.fromkeys(note for note in notes if note)

    def _files(self, outcome: Outcome) -> Iterator[CompiledFile]:
        """Yield the given files, and of those beside them the ones that were changed."""
        given_paths = set(outcome.files)
        for path, source in self.originals.items():
            file = CompiledFile(source, self.current[path].text, path in given_paths)
            if file.is_given or file.is_changed:
                yield file


def _changes(job: Job, context: PassContext) -> Iterator[tuple[Pass, Change]]:
    """Yield what the passes want, pipeline order first; only what can be placed exactly in the user's files."""
    config = job.config
    if config is None or config.root is None or any(_is_misshapen(section) for section in config.sections):
        return
    if not (job.uses_template or config.is_editable):
        return
    files = _sources(job)
    for step in PASSES:
        for change in known_changes(step, job, replace(context, later_passes=passes_after(step))):
            if all(edit.source in files for edit in change.edits):
                yield step, change


def _is_misshapen(section: Section) -> bool:
    """Return whether a section is neither a mapping nor empty: nobody knows what is meant."""
    return isinstance(section.node, Sequence) or (isinstance(section.node, Scalar) and section.node.value not in _NULLS)


def _sources(job: Job) -> tuple[Source, ...]:
    manifests = (job.workspace, job.config_map)
    return tuple(manifest.source for manifest in manifests if manifest is not None)


def _siblings(job: Job, jobs: dict[_JobKey, Job]) -> tuple[Job, ...]:
    """Return the other jobs that use the same ConfigMap: a change of it is a change to all of them."""
    if job.config_map is None:
        return ()
    return tuple(other for other in jobs.values() if other is not job and other.config_map is job.config_map)


def _is_same(change: AppliedChange, other: AppliedChange) -> bool:
    return (change.pass_name, change.what, change.before, change.after) == (
        other.pass_name, other.what, other.before, other.after)  # fmt: skip


def describe_problem(finding: Finding) -> str:
    """Return a finding that stops a compilation as one line for the user."""
    position = finding.source.position(finding.span.start)
    return f"{finding.source.path}:{position.line}:{position.column}: {finding.code} {finding.message}"
