"""What every output format is made from: findings, jobs, the rules behind them and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kaitoc.compiler.findings import Applicability, Finding, Severity
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.records import dataclass, field

RULE_URL_BASE = "https://kaitoc.readthedocs.io/rules/"
HOME_URL = "https://kaitoc.readthedocs.io/"


def rule_url(code: str) -> str:
    """Return the address of a rule's page; it never changes once the rule is released."""
    return f"{RULE_URL_BASE}{code}"


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a report says about a rule.

    `summary` is one line; `description` is the longer Markdown text that editors and code scanning pages show.
    """

    code: str
    name: str
    severity: Severity
    summary: str = ""
    description: str = ""

    @property
    def url(self) -> str:
        """Return the address of the rule's page."""
        return rule_url(self.code)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One tuning run and what it needs on one GPU.

    `workspace` and `configmap` are `namespace/name`, or the bare name where the manifest names no namespace, and empty
    where there is none. `footprint` is None where the model or the configuration is unknown, `verdict` and
    `capacity_bytes` where the GPU is.
    """

    workspace: str = ""
    configmap: str = ""
    model: str = ""
    gpu: str = ""
    method: str = ""
    seq_len: int | None = None
    batch: int | None = None
    footprint: Footprint | None = None
    capacity_bytes: int | None = None
    verdict: Verdict | None = None

    @property
    def fits(self) -> bool | None:
        """Return whether the run fits, be it tightly; None where that cannot be told."""
        return None if self.verdict is None else self.verdict is not Verdict.DOES_NOT_FIT

    @property
    def title(self) -> str:
        """Return the name to show: the Workspace's, else the ConfigMap's."""
        return self.workspace or self.configmap


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a report's summary."""

    errors: int
    warnings: int
    infos: int
    fixable: int
    unsafe_fixable: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run found.

    `files` are the paths that were checked, `rules` the rules that the findings may name. `strict` says that
    warnings fail the run, as errors do. `shown` are texts of findings, by their sort keys, that need not be made again.
    """

    findings: tuple[Finding, ...] = ()
    jobs: tuple[JobSummary, ...] = ()
    rules: tuple[RuleInfo, ...] = ()
    files: tuple[str, ...] = ()
    num_suppressed: int = 0
    num_baselined: int = 0
    strict: bool = False
    shown: Mapping[tuple[str, int, int, str, str], str] = field(default_factory=dict)

    @property
    def sorted_findings(self) -> list[Finding]:
        """Return the findings in the order in which every format lists them."""
        return sorted(self.findings, key=lambda finding: finding.sort_key)

    @property
    def counts(self) -> Counts:
        """Return how many findings there are of each severity and how many have a fix to apply."""
        severities = Counter(finding.severity for finding in self.findings)
        fixes = Counter(finding.fix.applicability for finding in self.findings if finding.fix)
        return Counts(
            errors=severities[Severity.ERROR],
            warnings=severities[Severity.WARNING],
            infos=severities[Severity.INFO],
            fixable=fixes[Applicability.SAFE],
            unsafe_fixable=fixes[Applicability.UNSAFE],
        )

    def fails(self, finding: Finding) -> bool:
        """Return whether a finding makes the run fail."""
        return finding.severity is Severity.ERROR or (self.strict and finding.severity is Severity.WARNING)

    def rule_infos(self) -> tuple[RuleInfo, ...]:
        """Return the known rules and, by code, those that only findings name."""
        known = {rule.code: rule for rule in self.rules}
        for finding in self.findings:
            if finding.code not in known:
                known[finding.code] = RuleInfo(finding.code, finding.name, finding.severity)
        return tuple(known[code] for code in sorted(known))
