"""Runs the rules: from paths to findings and jobs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from kaitoc.compiler.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.faults import FileRule, JobRule, Rule, to_finding
from kaitoc.compiler.findings import Finding
from kaitoc.compiler.job import Assumptions, Job
from kaitoc.compiler.job_memory import summarize
from kaitoc.compiler.library import YAML_SUFFIXES, Library
from kaitoc.compiler.link import link_jobs, stands_alone
from kaitoc.compiler.manifests import ManifestFile
from kaitoc.compiler.records import dataclass, field
from kaitoc.compiler.report.model import JobSummary
from kaitoc.compiler.settings import Settings, SettingsFinder
from kaitoc.compiler.source import SourceError

_SUPPRESSION_WORD = "kaitoc"
"""A text without this word holds no suppression."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules to run, by what they look at."""

    file_rules: tuple[FileRule, ...]
    job_rules: tuple[JobRule, ...]

    @property
    def all(self) -> tuple[Rule, ...]:
        """Return all rules."""
        return (*self.file_rules, *self.job_rules)


@dataclass(slots=True)
class Outcome:
    """What a run over some paths found.

    `notes` are for stderr; `errors` are inputs that could not be read; `shown` are texts of findings by their sort
    keys, where the process that found them made them.
    """

    findings: list[Finding] = field(default_factory=list)
    jobs: list[JobSummary] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    num_suppressed: int = 0
    num_kaito_objects: int = 0
    shown: dict[tuple[str, int, int, str, str], str] = field(default_factory=dict)


@dataclass(slots=True)
class Engine:
    """Checks files one after the other; jobs that span files are reported once."""

    rule_set: RuleSet
    overrides: Overrides
    settings: SettingsFinder
    library: Library = field(default_factory=Library)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    refuse_error_suppressions: bool = False
    _checked: dict[str, Outcome] = field(default_factory=dict)
    _with_suppressions: dict[str, None] = field(default_factory=dict)
    _seen: set[tuple[str, int, int, str, str]] = field(default_factory=set)
    _seen_jobs: set[tuple[str, str, str]] = field(default_factory=set)
    _assumptions: dict[str, Assumptions] = field(default_factory=dict)
    _active: dict[str, tuple[JobRule, ...]] = field(default_factory=dict)

    def check(self, paths: Iterable[str]) -> Outcome:
        """Check files; raises `AssumptionError` and `SettingsError`, collects what cannot be read."""
        return self.check_indexed(self.index(paths))

    def index(self, paths: Iterable[str]) -> Outcome:
        """Read files once, so that each can find partners among all; collects what cannot be read.

        A file that needs no other is checked while it is at hand: of many files few stay in memory.
        """
        outcome = Outcome()
        for path in paths:
            try:
                file = self.library.add_given(path)
            except SourceError as error:
                outcome.errors.append(str(error))
                continue
            outcome.files.append(path)
            if stands_alone(file):
                self._checked[path] = self._check_file(file)
        return outcome

    def check_indexed(self, outcome: Outcome) -> Outcome:
        """Check the files of an outcome, which are indexed, and add to it what is found."""
        found: dict[str, list[Finding]] = {}
        for path in outcome.files:
            checked = self._checked.pop(path, None) or self._check_file(self.library.load(path))
            outcome.jobs += checked.jobs
            outcome.notes += checked.notes
            outcome.num_kaito_objects += checked.num_kaito_objects
            for finding in checked.findings:
                found.setdefault(finding.source.path, []).append(finding)
        for path in [*found, *(path for path in self._with_suppressions if path not in found)]:
            self._conclude(path, found.get(path, []), outcome)
        return outcome

    def fresh(self) -> Engine:
        """Return an engine with the same options that has seen nothing yet."""
        return Engine(
            self.rule_set,
            self.overrides,
            self.settings,
            select=self.select,
            ignore=self.ignore,
            refuse_error_suppressions=self.refuse_error_suppressions,
            _assumptions=self._assumptions,
            _active=self._active,
        )

    def assumptions_for(self, path: str) -> Assumptions:
        """Return what is assumed for a file."""
        settings = self.settings_for(path)
        found = self._assumptions.get(settings.path)
        if found is None:
            found = self._assumptions[settings.path] = resolve_assumptions(self.overrides, settings)
        return found

    def settings_for(self, path: str) -> Settings:
        """Return a file's settings under `--select` and `--ignore`."""
        return self.settings.for_path(path).with_selection(self.select, self.ignore)

    def jobs_of(self, file: ManifestFile) -> Iterator[Job]:
        """Yield the jobs of a file."""
        return link_jobs(file, self.library, self.assumptions_for(file.source.path))

    def _check_file(self, file: ManifestFile) -> Outcome:
        """Return what the rules find in a file and in its jobs, and has not been found from another file."""
        outcome = Outcome()
        if _SUPPRESSION_WORD in file.source.text:
            self._with_suppressions[file.source.path] = None
        num_objects = sum(manifest.is_workspace for manifest in file.manifests)
        if not file.concerns_kaito:
            self._note_broken(file, outcome)
            jobs = list(self.jobs_of(file)) if any(m.is_config_map for m in file.manifests) else []
        else:
            jobs = list(self.jobs_of(file))
        outcome.num_kaito_objects = max(num_objects, len(jobs))
        settings = self.settings_for(file.source.path)
        found = [to_finding(rule, fault) for rule in self.rule_set.file_rules
                 if settings.runs(rule.CODE, rule.NAME) for fault in rule.check(file)]  # fmt: skip
        for job in jobs:
            found.extend(self._in_scope(job, self._check_job(job, settings)))
            self._add_summary(job, outcome)
        for finding in found:
            if finding.sort_key not in self._seen:
                self._seen.add(finding.sort_key)
                outcome.findings.append(finding)
        return outcome

    def _in_scope(self, job: Job, findings: list[Finding]) -> Iterable[Finding]:
        """Yield what concerns the given files: a Workspace that only lies beside them is context, not the subject."""
        if job.workspace is None or self.library.is_given(job.workspace):
            return findings
        return (finding for finding in findings if self.library.is_given_path(finding.source.path))

    def _check_job(self, job: Job, settings: Settings) -> list[Finding]:
        return [to_finding(rule, fault) for rule in self._job_rules(settings) for fault in rule.check(job)]

    def _job_rules(self, settings: Settings) -> tuple[JobRule, ...]:
        """Return the job rules that a settings file leaves on."""
        found = self._active.get(settings.path)
        if found is None:
            found = tuple(rule for rule in self.rule_set.job_rules if settings.runs(rule.CODE, rule.NAME))
            self._active[settings.path] = found
        return found

    def _conclude(self, path: str, findings: list[Finding], outcome: Outcome) -> None:
        """Apply a file's suppressions and settings to what was found in it."""
        settings = self.settings_for(path)
        if any(_SUPPRESSION_WORD in finding.source.text for finding in findings[:1]) or not findings:
            not_run = frozenset(
                name
                for rule in self.rule_set.all
                if not settings.runs(rule.CODE, rule.NAME)
                for name in (rule.CODE, rule.NAME)
            )
            from kaitoc.compiler.file_suppressions import suppress_in_file

            split = suppress_in_file(
                self.library.load(path), findings, refuse_errors=self.refuse_error_suppressions, not_run=not_run
            )
            outcome.num_suppressed += len(split.suppressed)
            findings = [*split.kept, *split.unused]
        outcome.findings.extend(adjusted for finding in findings if (adjusted := settings.apply(finding)) is not None)

    def _add_summary(self, job: Job, outcome: Outcome) -> None:
        manifest = job.manifest
        key = (manifest.source.path, manifest.pointer, str(manifest.node.span.start))
        if key not in self._seen_jobs:
            self._seen_jobs.add(key)
            outcome.jobs.append(summarize(job))

    def _note_broken(self, file: ManifestFile, outcome: Outcome) -> None:
        broken = next((problem for document in file.documents for problem in document.problems
                       if document.root is None), None)  # fmt: skip
        if broken is not None:
            line = file.source.position(broken.span.start).line
            outcome.notes.append(f"{file.source.path}:{line}: skipped, not YAML that can be read ({broken.message})")


def find_files(paths: Iterable[str], settings: SettingsFinder) -> Iterator[str]:
    """Yield the files that paths name, `./a.yaml` as `a.yaml`, which is what it is called by those beside it.

    Folders are searched for YAML, hidden and excluded files left out.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path.removeprefix(os.curdir + os.sep)
            continue
        for folder, folders, names in os.walk(path):
            here = settings.for_path(folder)
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and not here.excludes(os.path.join(folder, name))
            )
            for name in sorted(names):
                found = os.path.normpath(os.path.join(folder, name))
                if name.endswith(YAML_SUFFIXES) and not here.excludes(found):
                    yield found
