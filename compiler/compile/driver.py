"""The driver of the passes: from paths to changed texts, with the evidence.

Passes see the text as it is after the change before: each round applies one change per file, reads the files again,
and asks again. What comes out is checked by the same rules as `kaitoc check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

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
from kaitoc.compiler.compile.serving import ServingSubject
from kaitoc.compiler.compile.subject import Scope, Subject
from kaitoc.compiler.compile.texts import breaks_yaml, changed_texts
from kaitoc.compiler.compile.tuning import TuningSubject
from kaitoc.compiler.core.findings import Finding, Related, Severity
from kaitoc.compiler.core.offsets import TextHistory
from kaitoc.compiler.core.progress import Task, tracked
from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.core.source import Source, SourceError, Span
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.passes.model import Change

MAX_ROUNDS = 300
"""A bound far above what one manifest needs; a pass that undoes another would run into it."""

_Key = tuple[str, str, int]
"""A file, the kind of subject, and which of its kind it is there."""


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
    """What happened to one subject so far."""

    before: Subject
    now: Subject
    changes: list[AppliedChange] = field(default_factory=list)


@dataclass(slots=True)
class _Pending:
    """A change that a pass wants to make, not made yet."""

    key: _Key
    subject: Subject
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
    trails: dict[_Key, _Trail] = field(default_factory=dict)
    library: Library = field(default_factory=Library)
    _impossible: set[tuple[_Key, str, str]] = field(default_factory=set)
    _settled: dict[_Key, tuple[Source, ...]] = field(default_factory=dict)

    def settle(self) -> None:
        """Apply changes until no pass has any."""
        subjects = self._read()
        with tracked(f"compiling {len(subjects):,} job{'s' if len(subjects) != 1 else ''}", len(subjects)) as task:
            for _ in range(MAX_ROUNDS):
                pending = list(self._wanted(subjects, task))
                if not pending:
                    return
                applied = self._apply(pending)
                subjects = self._read()
                self._account(applied, subjects)
        last = pending[0]
        path = last.subject.manifest.source.path
        raise CompileError(
            f"{path}: the passes do not converge: {last.pass_name} changes {last.change.what} again and again",
            path=path,
        )

    def conclude(self) -> Compilation:
        """Judge the texts and gather what was done."""
        outcome = self._engine().check(self.paths)
        problems = [self._as_written(one) for one in outcome.findings if one.severity is Severity.ERROR]
        return Compilation(
            files=tuple(self._files(outcome)),
            jobs=tuple(self._compiled_jobs()),
            problems=tuple(problems),
            notes=(*dict.fromkeys(note for checked in outcome.checked for note in checked.all_notes), *self._notes()),
            missing=tuple(trail.now.missing_config for trail in self.trails.values() if trail.now.missing_config),
            errors=tuple(outcome.errors),
            goal=self.request.goal,
        )

    def _engine(self, instead: Iterable[Source] = ()) -> Engine:
        """Return an engine that reads the texts as they are now, or others `instead` of some."""
        engine = Engine(self.request.rule_set, self.request.overrides, self.request.settings)
        for source in {**self.current, **{source.path: source for source in instead}}.values():
            engine.library.add_source(source)
        return engine

    def _read(self) -> dict[_Key, Subject]:
        """Read all files as they are now and return what they hold; one that cannot be read is told at the end."""
        engine = self._engine()
        self.library = engine.library
        subjects: dict[_Key, Subject] = {}
        for file in self._files_of(engine):
            self._remember(file.source)
            subjects.update(_subjects_in(file, engine))
        for key, subject in subjects.items():
            self.trails.setdefault(key, _Trail(subject, subject)).now = subject
            for source in subject.sources:
                self._remember(source)
        return subjects

    def _files_of(self, engine: Engine) -> list[ManifestFile]:
        files = []
        for path in self.paths:
            with suppress(SourceError):
                files.append(engine.library.add_given(path))
        return files

    def _after(self, keys: tuple[_Key, ...], change: Change) -> tuple[Subject, ...]:
        """Return subjects as they would be after a change, nothing where the change cannot be made."""
        texts = changed_texts(change)
        if texts is None or any(breaks_yaml(source, text) for source, text in texts.items()):
            return ()
        engine = self._engine(Source(source.path, text, source.has_bom) for source, text in texts.items())
        paths = {path for path, _, _ in keys}
        after: dict[_Key, Subject] = {}
        for file in self._files_of(engine):
            if file.source.path in paths:
                after.update(_subjects_in(file, engine))
        return tuple(after[key] for key in keys) if all(key in after for key in keys) else ()

    def _has_config_map(self, name: str, near: Manifest) -> bool:
        return self.library.config_map(name, near) is not None

    def _remember(self, source: Source) -> None:
        """Keep a file's text, so that no round reads it from disk again."""
        self.originals.setdefault(source.path, source)
        self.current.setdefault(source.path, source)

    def _wanted(self, subjects: dict[_Key, Subject], task: Task) -> Iterator[_Pending]:
        """Yield the next change of each subject, at most one per file."""
        touched: set[str] = set()
        for key, subject in subjects.items():
            if self._settled.get(key) == subject.sources:
                continue
            changes = subject.changes(self._scope(key, subject, subjects))
            wanted = next((one for one in changes if self._is_open(key, one.change)), None)
            task.refresh()
            if wanted is None:
                task.advance(key not in self._settled)
                self._settled[key] = subject.sources
                continue
            paths = {edit.source.path for edit in wanted.change.edits}
            if not paths & touched:
                touched |= paths
                yield _Pending(key, subject, wanted.pass_name, wanted.change)

    def _scope(self, key: _Key, subject: Subject, subjects: dict[_Key, Subject]) -> Scope:
        siblings = _siblings(subject, subjects)
        keys = (key, *siblings)
        return Scope(self.request, tuple(siblings.values()), self._has_config_map, partial(self._after, keys))

    def _is_open(self, key: _Key, change: Change) -> bool:
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

    def _account(self, pending: list[_Pending], subjects: dict[_Key, Subject]) -> None:
        """Note the changes that were made, with what they are predicted to give."""
        for wanted in pending:
            after = subjects.get(wanted.key, wanted.subject)
            before_now = (one.performance(self.request) for one in (wanted.subject, after))
            applied = self._applied(wanted, *before_now)
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
        original, span = self._in_original(place.source, place.span)
        return AppliedChange(
            pass_name=wanted.pass_name,
            what=change.what,
            before=change.before,
            after=change.after,
            reason=change.reason,
            preserves=change.preserves,
            path=place.source.path,
            position=original.position(span.start),
            end=original.position(span.end),
            pointer=place.pointer,
            code=change.code,
            performance_before=before,
            performance_after=after,
        )

    def _in_original(self, source: Source, span: Span) -> tuple[Source, Span]:
        """Return the user's text and the span there from which a span of the text as it is now came."""
        original = self.originals.get(source.path, source)
        start, end = self.histories.get(source.path, TextHistory()).original_span(span)
        length = len(original.text)
        return original, Span(min(start, length), min(end, length))

    def _as_written(self, finding: Finding) -> Finding:
        """Return a finding in the compiled text as one in the user's, where its fix would not fit."""
        source, span = self._in_original(finding.source, finding.span)
        related = tuple(Related(one.message, *self._in_original(one.source, one.span)) for one in finding.related)
        return replace(finding, source=source, span=span, related=related, fix=None)

    def _compiled_jobs(self) -> Iterator[CompiledJob]:
        subjects = {key: trail.now for key, trail in self.trails.items()}
        for key, trail in self.trails.items():
            if trail.now.missing_config:
                continue
            scope = self._scope(key, trail.now, subjects)
            binding = trail.now.binding(scope)
            yield CompiledJob(
                before=trail.before.summary(),
                after=trail.now.summary(),
                performance_before=trail.before.performance(self.request),
                performance_after=trail.now.performance(self.request),
                changes=tuple(trail.changes),
                binding=str(binding),
                shortage=binding.shortage,
                proposal=trail.now.proposal(scope),
            )

    def _notes(self) -> Iterator[str]:
        """Yield what the goal lacks, or does not mean for some of the subjects, once each."""
        notes = (trail.now.note(self.request) for trail in self.trails.values())
        yield from dict.fromkeys(note for note in notes if note)

    def _files(self, outcome: Outcome) -> Iterator[CompiledFile]:
        """Yield the given files, and of those beside them the ones that were changed."""
        given_paths = set(outcome.files)
        for path, source in self.originals.items():
            file = CompiledFile(source, self.current[path].text, path in given_paths)
            if file.is_given or file.is_changed:
                yield file


def _subjects_in(file: ManifestFile, engine: Engine) -> dict[_Key, Subject]:
    """Return the runs and the servers that a file brings in."""
    path = file.source.path
    found: dict[_Key, Subject] = {}
    for index, job in enumerate(engine.jobs_of(file)):
        found[path, "run", index] = TuningSubject(job)
    for index, server in enumerate(engine.servers_of(file)):
        found[path, "server", index] = ServingSubject(server)
    return found


def _siblings(subject: Subject, subjects: dict[_Key, Subject]) -> dict[_Key, Subject]:
    """Return the others that use the same ConfigMap: a change of it is a change to all of them."""
    if subject.config_map is None:
        return {}
    return {
        key: other for key, other in subjects.items() if other is not subject and other.config_map is subject.config_map
    }


def _is_same(change: AppliedChange, other: AppliedChange) -> bool:
    return (change.pass_name, change.what, change.before, change.after) == (
        other.pass_name, other.what, other.before, other.after)  # fmt: skip


def describe_problem(finding: Finding) -> str:
    """Return a finding that stops a compilation as one line for the user."""
    position = finding.source.position(finding.span.start)
    return f"{finding.source.path}:{position.line}:{position.column}: {finding.code} {finding.message}"
