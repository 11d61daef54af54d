"""Runs the rules: from paths to findings and jobs."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from kaitoc.compiler.check.known_findings import known_findings, rules_to_ask, without_unknown
from kaitoc.compiler.check.notes import note_of_patch, note_of_unjudged
from kaitoc.compiler.check.outcome import FileOutcome, Keep, Outcome
from kaitoc.compiler.check.remembered import BySettings, Met, identity_of
from kaitoc.compiler.check.rule_set import RuleSet, names_of_rules
from kaitoc.compiler.core.annotations import TYPE_CHECKING
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.progress import SILENT, Task, tracked
from kaitoc.compiler.core.source import SourceError
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.faults import JobRule, known_faults, to_finding
from kaitoc.compiler.job.job import Assumptions, Job
from kaitoc.compiler.job.library import Library
from kaitoc.compiler.job.link import jobs_from_elsewhere, link_jobs, stands_alone
from kaitoc.compiler.job.memory import asks_offload
from kaitoc.compiler.job.servers import Server, servers_elsewhere, servers_in
from kaitoc.compiler.job.settings import Settings, SettingsFinder
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.manifest.inner_configs import is_kaitos_config
from kaitoc.compiler.manifest.objects import Manifest, ManifestFile
from kaitoc.compiler.manifest.recognition import PLAN_LABEL
from kaitoc.compiler.manifest.serving_objects import serving_views
from kaitoc.compiler.manifest.unknown_places import is_encrypted
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES

if TYPE_CHECKING:
    from kaitoc.compiler.job.serving_job import ServingJob

_SUPPRESSION_WORD = "kaitoc"
"""A text without this word holds no suppression."""
_STEPS_PER_FILE = 2
"""Reading a file and checking it."""


def tracked_check(num_files: int, num_processes: int = 1) -> Task:
    """Return the progress of a check, to be handed to `read_each` and `check_rest`."""
    label = f"checking {num_files:,} file{'s' if num_files != 1 else ''}"
    return tracked(label, _STEPS_PER_FILE * num_files, num_processes)


class Engine:
    """Checks files one after the other.

    What is found in a file follows from the file and its partners alone, so nothing that was found needs to be kept.
    """

    def __init__(
        self,
        rule_set: RuleSet,
        overrides: Overrides,
        settings: SettingsFinder,
        *,
        select: tuple[str, ...] = (),
        ignore: tuple[str, ...] = (),
        severity: Severity | None = None,
        refuse_error_suppressions: bool = False,
    ) -> None:
        self.rule_set = rule_set
        self.overrides = overrides
        self.settings = settings
        self.select = select
        self.ignore = ignore
        self.severity = severity
        self.refuse_error_suppressions = refuse_error_suppressions
        self.library = Library()
        self._met = Met()
        self._by_settings = BySettings()

    def check(self, paths: Iterable[str]) -> Outcome:
        """Check files; raises `AssumptionError` and `SettingsError`, collects what cannot be read."""
        unique_paths = list(dict.fromkeys(paths))
        outcome = Outcome()
        with tracked_check(len(unique_paths)) as task:
            waiting = self.read_each(unique_paths, outcome.keep, task)
            self.check_rest(unique_paths, waiting, outcome.keep, task)
        return outcome

    def read_each(self, paths: Sequence[str], keep: Keep, task: Task = SILENT) -> array[int]:
        """Read files once, so that each can find partners among all; return the numbers of those left to check.

        A file that needs no other is checked while it is at hand: of many files few stay in memory.
        """
        waiting = array("L")
        for number, path in enumerate(paths):
            try:
                file = self.library.add_given(path)
            except SourceError as error:
                keep(number, FileOutcome(path, error=error))
                task.advance(_STEPS_PER_FILE)
                continue
            if stands_alone(file):
                keep(number, self._check_file(file, is_alone=True))
                task.advance(_STEPS_PER_FILE)
            else:
                waiting.append(number)
                task.advance()
        return waiting

    def check_rest(self, paths: Sequence[str], waiting: Iterable[int], keep: Keep, task: Task = SILENT) -> None:
        """Check the files that may need others, now that all are read.

        So may one that was checked alone, where it turned out that a Workspace elsewhere uses its ConfigMap.
        """
        used = self.library.used_elsewhere()
        numbers = {*waiting, *(number for number, path in enumerate(paths) if path in used)} if used else waiting
        for number in sorted(numbers):
            keep(number, self._check_file(self.library.load(paths[number]), is_alone=False))
            task.advance()

    def fresh(self) -> Engine:
        """Return an engine with the same options that has seen nothing yet."""
        engine = Engine(
            self.rule_set,
            self.overrides,
            self.settings,
            select=self.select,
            ignore=self.ignore,
            severity=self.severity,
            refuse_error_suppressions=self.refuse_error_suppressions,
        )
        engine._by_settings = self._by_settings
        return engine

    def assumptions_for(self, path: str) -> Assumptions:
        """Merge the settings that apply to a path with the command line's overrides."""
        settings = self.settings_for(path)
        assumptions = self._by_settings.assumptions.get(settings.path)
        if assumptions is None:
            settings.refuse_unknown_selectors(names_of_rules)
            assumptions = self._by_settings.assumptions[settings.path] = resolve_assumptions(self.overrides, settings)
        return assumptions

    def settings_for(self, path: str) -> Settings:
        """Return a file's settings under `--select`, `--ignore` and `--severity`."""
        return self.settings.for_path(path).with_selection(self.select, self.ignore).at_least(self.severity)

    def jobs_of(self, file: ManifestFile) -> Iterator[Job]:
        """Yield the jobs of a file."""
        return link_jobs(file, self.library, self.assumptions_for(file.source.path))

    def servers_of(self, file: ManifestFile) -> Iterator[ServingJob]:
        """Yield the servers of a file."""
        for server in servers_in(file, self.library):
            yield self._serving_job(server, file.source.path)

    def _check_file(self, file: ManifestFile, *, is_alone: bool) -> FileOutcome:
        """Check a file, its jobs, and jobs of other files that use its ConfigMaps."""
        checked = FileOutcome(file.source.path)
        if self.library.is_patch(checked.path):
            checked.note = note_of_patch(file)
            checked.num_kaito_objects = sum(manifest.is_kaitos for manifest in file.manifests)
            return checked
        file = self.with_config_maps(file)
        jobs = self._jobs_in(file, checked)
        settings = self.settings_for(checked.path)
        findings = [to_finding(rule, fault) for rule in self.rule_set.file_rules
                 if settings.runs(rule.CODE, rule.NAME) for fault in known_faults(rule, file)]  # fmt: skip
        for manifest in file.manifests:
            if manifest.is_kaitos:
                findings.extend(self._check_object(manifest, self.assumptions_for(checked.path), settings))
        for job in jobs:
            findings.extend(self._in_scope(job, self._check_job(job, settings)))
            self._add_summary(job, checked)
        has_servers = bool(file.config_maps) or any(serving_views(manifest) for manifest in file.manifests)
        servers = list(self.servers_of(file)) if has_servers else []
        for server in servers:
            findings.extend(self._in_scope(server, self._check_server(server, settings)))
            self._add_server(server, checked)
        checked.num_kaito_objects = max(checked.num_kaito_objects, len(servers))
        if PLAN_LABEL in file.source.text:
            from kaitoc.compiler.check.cluster_runs import check_cluster_runs  # with it comes pydantic

            rules = [rule for rule in self.rule_set.cluster_rules() if settings.runs(rule.CODE, rule.NAME)]
            num_runs, found = check_cluster_runs(file, self.library, self.assumptions_for(checked.path), rules)
            checked.num_kaito_objects += num_runs
            findings.extend(found)
        if not is_alone:
            findings.extend(self._found_from_elsewhere(file))
            checked.beside = self._found_beside(checked.path, [*jobs, *servers], findings)
        self._conclude(file, findings, checked)
        if checked.findings:
            checked.num_kaito_objects = max(1, checked.num_kaito_objects)
        return checked

    def with_config_maps(self, file: ManifestFile) -> ManifestFile:
        """Return a file that says which of its ConfigMaps are Kaito's: by what they hold, or as a Workspace names them.

        The others are another program's, whatever their keys are called.
        """
        owned = tuple(
            manifest
            for manifest in file.manifests
            if manifest.is_config_map and (self.library.is_named(manifest) or is_kaitos_config(manifest))
        )
        return ManifestFile(file.source, file.documents, file.manifests, owned) if owned else file

    def _jobs_in(self, file: ManifestFile, checked: FileOutcome) -> list[Job]:
        """Return the jobs that a file brings in, and note down what of it is Kaito's and what is not judged."""
        num_objects = sum(manifest.is_kaitos for manifest in file.manifests)
        has_jobs = bool(file.config_maps) or any(manifest.is_tuning_workspace for manifest in file.manifests)
        checked.note = note_of_unjudged(file)
        jobs = list(self.jobs_of(file)) if has_jobs else []
        checked.num_kaito_objects = max(num_objects, len(jobs))
        return jobs

    def _serving_job(self, server: Server, path: str) -> ServingJob:
        from kaitoc.compiler.job.serving_link import serving_job  # with it comes vLLM's parser: loaded when one serves

        return serving_job(server, self.library, self.assumptions_for(path))

    def _check_server(self, server: ServingJob, settings: Settings) -> list[Finding]:
        """Check a server and its ConfigMap."""
        rules = [rule for rule in self.rule_set.serving_rules() if settings.runs(rule.CODE, rule.NAME)]
        findings = [to_finding(rule, fault) for rule in rules for fault in known_faults(rule, server)]
        if server.config_map is not None:
            findings.extend(self._check_object(server.config_map, server.assumptions, settings))
        return findings

    def _found_from_elsewhere(self, file: ManifestFile, besides: str = "") -> Iterator[Finding]:
        """Yield what jobs of Workspaces in other given files find, those of one file left out."""
        for job in jobs_from_elsewhere(file, self.library, self.assumptions_for):
            path = job.manifest.source.path
            if path != besides:
                yield from self._check_job(job, self.settings_for(path))
        for server in servers_elsewhere(file, self.library):
            path = server.manifest.source.path
            if path != besides:
                yield from self._check_server(self._serving_job(server, path), self.settings_for(path))

    def _found_beside(self, path: str, jobs: Iterable[Job | ServingJob], findings: list[Finding]) -> list[FileOutcome]:
        """Check the neighbouring ConfigMaps that a file uses and the user did not name.

        It is told with the first of the given files that use them.
        """
        config_maps = {job.config_map.source.path: job.config_map for job in jobs if job.config_map is not None}
        outcomes = []
        for partner_path in sorted(config_maps):
            if self.library.is_given_path(partner_path):
                continue
            partner = self.library.load(partner_path)
            if self._owner(partner) == path:
                outcomes.append(FileOutcome(partner_path))
                self._conclude(partner, (*findings, *self._found_from_elsewhere(partner, path)), outcomes[-1])
        return outcomes

    def _owner(self, partner: ManifestFile) -> str:
        """Return the first of the given files with a Workspace that uses a ConfigMap of a file that is not given."""
        owner = self._met.owners.get(partner.source.path)
        if owner is None:
            jobs: list[Job | Server] = [
                *jobs_from_elsewhere(partner, self.library, self.assumptions_for),
                *servers_elsewhere(partner, self.library),
            ]
            owner = self._met.owners[partner.source.path] = min((job.manifest.source.path for job in jobs), default="")
        return owner

    def _in_scope(self, job: Job | ServingJob, findings: list[Finding]) -> Iterable[Finding]:
        """Yield what concerns the given files: a Workspace that only lies beside them is context, not the subject."""
        if job.manifest is job.config_map or self.library.is_given(job.manifest):
            return findings
        return (finding for finding in findings if self.library.is_given_path(finding.source.path))

    def _check_job(self, job: Job, settings: Settings) -> list[Finding]:
        """Check a job once, whether its Workspace or its ConfigMap asks first."""
        key = (*identity_of(job), settings.path)
        findings = self._met.found_in_jobs.get(key)
        if findings is None:
            findings = known_findings(self._job_rules(job, settings), job)
            if job.config_map is not None:
                findings.extend(self._check_object(job.config_map, job.assumptions, settings))
            if job.config_map is not None and job.config_map.source is not job.manifest.source:
                self._met.keep_found(key, findings)
        return findings

    def _check_object(self, manifest: Manifest, assumptions: Assumptions, settings: Settings) -> Iterator[Finding]:
        """Yield what the API server says of an object; raises `SchemaError`.

        It never sees a training config that is a file of its own, nor what sops wrote before it is decrypted.
        """
        if manifest.plain is not None or is_encrypted(manifest):
            return
        for rule in self.rule_set.object_rules:
            if settings.runs(rule.CODE, rule.NAME):
                for fault in known_faults(rule, manifest, assumptions.release):
                    yield to_finding(rule, fault)

    def _job_rules(self, job: Job, settings: Settings) -> tuple[JobRule, ...]:
        """Return the rules that may find something in a job, of those that a settings file leaves on."""
        job_rules = self.rule_set.job_rules
        key = (settings.path, job_rules.subjects_of_run(job), job_rules.subjects_of_workspace(job))
        rules = self._by_settings.job_rules.get(key)
        if rules is None:
            about = job_rules.about(key[1] | key[2])
            rules = tuple(rule for rule in about if settings.runs(rule.CODE, rule.NAME))
            self._by_settings.job_rules.put(key, rules, 1)
        return rules_to_ask(rules, job)

    def _conclude(self, file: ManifestFile, findings_of_rules: Iterable[Finding], checked: FileOutcome) -> None:
        """Apply a file's suppressions and settings to what was found in it, each finding once."""
        path = checked.path
        settings = self.settings_for(path)
        once: dict[tuple[str, int, int, str, str], Finding] = {}
        for finding in findings_of_rules:
            if finding.source.path == path:
                once.setdefault(finding.sort_key, finding)
        once = without_unknown(file, once)
        findings: Iterable[Finding] = once.values()
        if _SUPPRESSION_WORD in file.source.text and (once or self.library.is_given_path(path)):
            from kaitoc.compiler.job.file_suppressions import suppress_in_file

            not_run = self._not_run(settings)
            split = suppress_in_file(file, once.values(), refuse_errors=self.refuse_error_suppressions, not_run=not_run)
            checked.num_suppressed = len(split.suppressed)
            findings = (*split.kept, *split.unused)
        adjusted = [adjusted for finding in findings if (adjusted := settings.apply(finding)) is not None]
        checked.findings = sorted(adjusted, key=lambda finding: finding.sort_key)

    def _not_run(self, settings: Settings) -> frozenset[str]:
        """Return the codes and names of the rules that do not run; without a selector all do."""
        rules = self.rule_set.all if settings.named else ()
        off = (rule for rule in rules if not settings.runs(rule.CODE, rule.NAME))
        return frozenset(name for rule in off for name in (rule.CODE, rule.NAME))

    def _add_summary(self, job: Job, checked: FileOutcome) -> None:
        """Add a job; one that several files bring in, as they are not its Workspace's, is told once."""
        if job.manifest.source.path != checked.path:
            if identity_of(job) in self._met.jobs or self.library.is_given(job.manifest):
                return
            self._met.jobs.add(identity_of(job))
        checked.jobs.append(summarize(job))
        assumed = job.assumptions
        if job.num_gpus > 1 or assumed.sharing != AS_THE_STACK_DOES or assumed.rows is not None or asks_offload(job):
            from kaitoc.compiler.job.notes import notes_of  # of most jobs there is nothing to say

            checked.notes += notes_of(job)

    def _add_server(self, server: ServingJob, checked: FileOutcome) -> None:
        """Add a server that a file brings in; a ConfigMap that nothing at hand uses serves nothing by itself."""
        if server.view is None or server.manifest.source.path != checked.path:
            return
        from kaitoc.compiler.job.serving_memory import summarize_server  # with it comes the memory of servers

        checked.jobs.append(summarize_server(server))
