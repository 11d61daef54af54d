"""What a compilation is asked for and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.check.rule_set import RuleSet
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding
from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.core.source import Position, Source, SourceError
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.assumptions import Overrides
from kaitoc.compiler.job.settings import SettingsFinder
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.memory.serving.speed import ServingSpeed
from kaitoc.compiler.passes.model import Goal, PassContext, Preserves


class CompileError(KaitocError):
    """A compilation that cannot be carried out; `str(error)` is for the user."""


class OutputError(CompileError):
    """A place that cannot be written to."""


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What to compile by: assumptions, settings, rules that judge the output, and the bounds of the passes."""

    overrides: Overrides
    settings: SettingsFinder
    rule_set: RuleSet
    context: PassContext = field(default_factory=PassContext)

    @property
    def goal(self) -> Goal:
        """Return the goal of the request's context: what compiling optimizes for."""
        return self.context.goal


@dataclass(frozen=True, slots=True)
class ServerPerformance:
    """What a server holds: tokens in the KV cache of one replica, the context that it serves, requests of that context.

    They are 0 where it does not start. `num_nodes` are those that Kaito starts for it. `speed` is an estimate for
    comparing configurations, None where no goal asks for one or it is unknown.
    """

    kv_tokens: int
    context_tokens: int
    num_requests: float
    num_nodes: int
    speed: ServingSpeed | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """What a configuration is predicted to need and to give. Each part is None where it cannot be told.

    `peak_bytes` is what the device must hold, `step_seconds` the time of one optimizer step of all GPUs;
    `usd_per_million_tokens` is hours times the price of the instance type. `server` is for servers alone, which have
    neither peak nor step.
    """

    peak_bytes: int | None = None
    tokens_per_second: float | None = None
    step_seconds: float | None = None
    usd_per_million_tokens: float | None = None
    server: ServerPerformance | None = None


@dataclass(frozen=True, slots=True)
class AppliedChange:
    """A change that was made. `position` and `end` are those of the file as it was given."""

    pass_name: str
    what: str
    before: str
    after: str
    reason: str
    preserves: Preserves
    path: str
    position: Position
    end: Position
    pointer: str
    code: str
    performance_before: Performance
    performance_after: Performance


@dataclass(frozen=True, slots=True)
class InstanceProposal:
    """Another instance type on which the compiled run fits, with that many more changes.

    By the stated prices it is the cheapest, with what a million tokens cost there; without them the smallest.
    """

    name: str
    gpu: str
    num_gpus: int
    peak_bytes: int
    capacity_bytes: int
    num_changes: int = 0
    usd_per_million_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class NothingCheaper:
    """Other instance types with a stated price were compared, and the run costs least where it is."""

    num_others: int
    usd_per_million_tokens: float


@dataclass(frozen=True, slots=True)
class CompiledJob:
    """One run before and after, with the changes in the order they were made.

    `binding` explains why it does not fit and names the option that would help; `shortage` is its reason alone.
    """

    before: JobSummary
    after: JobSummary
    performance_before: Performance
    performance_after: Performance
    changes: tuple[AppliedChange, ...]
    binding: str = ""
    shortage: str = ""
    proposal: InstanceProposal | NothingCheaper | None = None


@dataclass(frozen=True, slots=True)
class CompiledFile:
    """A file before and after; `is_given` says that the user named it."""

    source: Source
    text: str
    is_given: bool

    @property
    def is_changed(self) -> bool:
        """Return whether compiling changed the file."""
        return self.text != self.source.text


@dataclass(frozen=True, slots=True)
class Compilation:
    """Everything a compilation found. `problems` are findings at error level that no pass could repair.

    `missing` says which Workspaces are left as they are, since no file at hand holds their ConfigMap.
    """

    files: tuple[CompiledFile, ...]
    jobs: tuple[CompiledJob, ...]
    problems: tuple[Finding, ...]
    notes: tuple[str, ...]
    errors: tuple[SourceError, ...]
    missing: tuple[str, ...] = ()
    goal: Goal = Goal.FIT

    def __str__(self) -> str:
        """Return a line for each change, for each job and for each problem that is left."""
        lines = [line for job in self.jobs for line in _job_lines(job)]
        problems = (f"{one.path}:{one.line}:{one.column}: {one.code} {one.message}" for one in self.problems)
        return "\n".join([*lines, *problems, *self.missing]) or "nothing to compile"

    @property
    def ok(self) -> bool:
        """Return whether the files may be written: everything is right, or was made so, and fits."""
        return not self.is_refused

    @property
    def diff(self) -> str:
        """Return the changes as a unified diff, empty when there are none."""
        return "".join(unified_diff(file.source, file.text) for file in self.files if file.is_changed)

    @property
    def is_refused(self) -> bool:
        """Return whether nothing may be written: something is wrong that no pass repairs."""
        return bool(self.problems) or any(job.binding for job in self.jobs)


def _job_lines(job: CompiledJob) -> Iterator[str]:
    """Yield the changes of a job, then what they give."""
    for change in job.changes:
        before, after = change.before or "(not set)", change.after or "(removed)"
        yield printable(f"{change.path}:{change.position.line}: {change.what}: {before} -> {after}")
    verdict = job.binding or (job.after.verdict.value if job.after.verdict is not None else "")
    num_changes = f"{len(job.changes)} change{'' if len(job.changes) == 1 else 's'}"
    yield printable(f"{job.after.title}: {num_changes}, {_need_of(job)}" + (f", {verdict}" if verdict else ""))


def _need_of(job: CompiledJob) -> str:
    performances = (job.performance_before, job.performance_after)
    if job.performance_after.server is not None:
        tokens = (f"{one.server.kv_tokens:,}" if one.server is not None else "unknown" for one in performances)
        return f"KV tokens {' -> '.join(tokens)}"
    peaks = (f"{gib(one.peak_bytes)} GiB" if one.peak_bytes is not None else "unknown" for one in performances)
    return f"peak {' -> '.join(peaks)}"
