"""What every output format is made from: findings, jobs, the rules behind them and the counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from importlib import import_module

from kaitoc.compiler.check.rule_info import RuleInfo
from kaitoc.compiler.core.annotations import Any, Protocol
from kaitoc.compiler.core.findings import Applicability, Finding, Severity
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.tuples import NamedTuple
from kaitoc.compiler.job.summary import JobSummary


class Verbosity(Enum):
    """How much a report for people says besides its findings."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


class Totals(NamedTuple):
    """The numbers of a report, of one file or of many.

    `cases` are findings, and one for each file without any; `gone` are those that a baseline lists and nothing finds.
    """

    files: int = 0
    findings: int = 0
    errors: int = 0
    warnings: int = 0
    infos: int = 0
    fixable: int = 0
    unsafe_fixable: int = 0
    failures: int = 0
    cases: int = 0
    suppressed: int = 0
    baselined: int = 0
    gone: int = 0
    jobs: int = 0

    @classmethod
    def of(cls, findings: Sequence[Finding], *, strict: bool, files: int = 1, **others: int) -> Totals:
        """Count findings by severity, by the fix they have, and how many of them make the run fail."""
        severities = [finding.severity for finding in findings]
        fixes = [finding.fix.applicability for finding in findings if finding.fix]
        errors, warnings = severities.count(Severity.ERROR), severities.count(Severity.WARNING)
        return cls(
            files=files,
            findings=len(findings),
            errors=errors,
            warnings=warnings,
            infos=severities.count(Severity.INFO),
            fixable=fixes.count(Applicability.SAFE),
            unsafe_fixable=fixes.count(Applicability.UNSAFE),
            failures=errors + (warnings if strict else 0),
            **{"cases": max(len(findings), files), **others},
        )


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """What a format must know besides a finding to show it: color, whether warnings fail, the numbers of rules."""

    color: bool = False
    strict: bool = False
    rule_indexes: Mapping[str, int] = field(default_factory=dict)

    def fails(self, finding: Finding) -> bool:
        """Return whether a finding makes the run fail."""
        return finding.severity is Severity.ERROR or (self.strict and finding.severity is Severity.WARNING)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the findings and jobs of a report; `rules` are described where findings name them."""

    totals: Totals
    rules: tuple[RuleInfo, ...] = ()
    color: bool = False
    verbosity: Verbosity = Verbosity.NORMAL


class Format(Protocol):
    """An output format: what it makes of one file, and how it puts files together.

    A report is written piece by piece, so that what is held does not grow with the number of files.
    """

    def of_file(self, path: str, findings: Sequence[Finding], options: FormatOptions) -> str:
        """Return the text of what was found in a file, in the order of `Finding.sort_key`."""
        ...

    def of_job(self, job: JobSummary, options: FormatOptions) -> str:
        """Return the text of a job, empty in formats that show none."""
        ...

    def whole(self, frame: Frame, files: Iterable[str], jobs: Iterable[str]) -> Iterator[str]:
        """Yield the report made of the texts of its files, sorted by path, and of its jobs."""
        ...


class Contents(Protocol):
    """What a report is made from: the texts that formats made of files and jobs, and what they add up to."""

    @property
    def totals(self) -> Totals:
        """Count findings by severity, files and jobs."""
        ...

    def rules(self) -> tuple[RuleInfo, ...]:
        """List the rules that SARIF describes, read from their pages on first use."""
        ...

    def file_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each file, sorted by path."""
        ...

    def job_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each job, in the order of the files."""
        ...


def load_format(name: str) -> Format:
    """Return the format of a name, loaded when it is asked for."""
    module: Any = import_module(f"kaitoc.compiler.report.formats.{name}")
    return module  # type: ignore[no-any-return]  # a module with the functions of the protocol


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one check found, at hand as a whole.

    `files` are the paths that were checked, `notes` what is to be said besides findings. `strict` says that warnings
    fail the check, as errors do. `describe_rules` gives the rules that the findings may name.
    """

    findings: tuple[Finding, ...] = ()
    jobs: tuple[JobSummary, ...] = ()
    describe_rules: Callable[[], tuple[RuleInfo, ...]] = field(default=tuple, repr=False, compare=False)
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    num_kaito_objects: int = 0
    num_suppressed: int = 0
    num_baselined: int = 0
    num_gone: int = 0
    strict: bool = False

    @property
    def ok(self) -> bool:
        """Return whether `kaitoc check` would exit 0: no finding fails the check."""
        return self.totals.failures == 0

    def to_json(self) -> str:
        """Return the report as `kaitoc check --format json` prints it."""
        files, jobs = self.file_texts("json", False), self.job_texts("json", False)
        return "".join(load_format("json").whole(Frame(self.totals), files, jobs))

    def __str__(self) -> str:
        """Return a line for each finding and each job, and a summary."""
        files, jobs = self.file_texts("concise", False), self.job_texts("text", False)
        return "".join(load_format("text").whole(Frame(self.totals), files, jobs)).rstrip("\n")

    @property
    def sorted_findings(self) -> list[Finding]:
        """Return the findings in the order in which every format lists them."""
        return sorted(self.findings, key=lambda finding: finding.sort_key)

    @property
    def totals(self) -> Totals:
        """Count findings by severity, files and jobs."""
        clean = {*self.files} - {finding.source.path for finding in self.findings}
        return Totals.of(
            self.findings,
            strict=self.strict,
            files=len(self.files),
            cases=len(self.findings) + len(clean),
            suppressed=self.num_suppressed,
            baselined=self.num_baselined,
            gone=self.num_gone,
            jobs=len(self.jobs),
        )

    def rules(self) -> tuple[RuleInfo, ...]:
        """Return the known rules and, by code, those that only findings name."""
        known = {rule.code: rule for rule in self.describe_rules()}
        for finding in self.findings:
            if finding.code not in known:
                known[finding.code] = RuleInfo(finding.code, finding.name, finding.severity)
        return tuple(known[code] for code in sorted(known))

    def file_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each file, sorted by path."""
        options, shown = self._options(format_name, color), load_format(format_name)
        by_path: dict[str, list[Finding]] = {path: [] for path in self.files}
        for finding in self.sorted_findings:
            by_path.setdefault(finding.source.path, []).append(finding)
        return (shown.of_file(path, by_path[path], options) for path in sorted(by_path))

    def job_texts(self, format_name: str, color: bool) -> Iterator[str]:
        """Yield what a format makes of each job, in the order of the files."""
        options, shown = self._options(format_name, color), load_format(format_name)
        return (shown.of_job(job, options) for job in self.jobs)

    def _options(self, format_name: str, color: bool) -> FormatOptions:
        rules = self.rules() if format_name == "sarif" else ()
        return FormatOptions(color, self.strict, {rule.code: index for index, rule in enumerate(rules)})
