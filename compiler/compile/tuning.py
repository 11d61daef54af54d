"""A run of fine-tuning as the driver sees it: its passes, what they give, and what binds it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.compile.model import CompileRequest, InstanceProposal, NothingCheaper, Performance
from kaitoc.compiler.compile.performance import performance_of
from kaitoc.compiler.compile.subject import PassChange, Scope, manifest_sources
from kaitoc.compiler.compile.verdict import binding_of, proposal_of
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.missing_config import missing_config
from kaitoc.compiler.job.summarize import summarize
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.manifest.training_config import Section
from kaitoc.compiler.passes import PASSES, passes_after
from kaitoc.compiler.passes.instance_type import missing_prices
from kaitoc.compiler.passes.model import Binding, Goal, PassContext, known_changes
from kaitoc.compiler.yaml.tree import Scalar, Sequence

_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, eq=False)
class TuningSubject:
    """The subject of a fine-tune: a tuning Workspace with its ConfigMap."""

    job: Job

    @property
    def manifest(self) -> Manifest:
        """Return the Workspace, else the ConfigMap."""
        return self.job.manifest

    @property
    def config_map(self) -> Manifest | None:
        """Return the ConfigMap of the run."""
        return self.job.config_map

    @property
    def sources(self) -> tuple[Source, ...]:
        """List the files of Workspace and ConfigMap, one or two."""
        return manifest_sources(self.job.workspace, self.job.config_map)

    @property
    def missing_config(self) -> str:
        """Name the missing ConfigMap that the Workspace references; empty when it was found."""
        return missing_config(self.job)

    def changes(self, scope: Scope) -> Iterator[PassChange]:
        """Yield what `PASSES` want."""
        job, config = self.job, self.job.config
        if config is None or config.root is None or any(_is_misshapen(section) for section in config.sections):
            return
        if not (job.uses_template or config.is_editable):
            return
        context, files = _context(scope), self.sources
        for step in PASSES:
            for change in known_changes(step, job, replace(context, later_passes=passes_after(step))):
                if all(edit.source in files for edit in change.edits):
                    yield PassChange(step.NAME, change)

    def performance(self, _: CompileRequest) -> Performance:
        """Predict peak memory, speed and cost of the present configuration."""
        return performance_of(self.job)

    def summary(self) -> JobSummary:
        """Summarize the run for the report's list of jobs."""
        return summarize(self.job)

    def binding(self, scope: Scope) -> Binding:
        """Name the memory that limits a run which no change makes fit."""
        return binding_of(self.job, _context(scope))

    def proposal(self, scope: Scope) -> InstanceProposal | NothingCheaper | None:
        """Propose another instance type for the goal, None when the present one is best."""
        return proposal_of(self.job, _context(scope))

    def note(self, request: CompileRequest) -> str:
        """Explain the prices that the cost goal lacks, and that latency applies only to servers."""
        if request.goal is Goal.LATENCY:
            return "--goal latency is for servers; training runs are compiled to fit"
        return missing_prices(self.job, request.context) if request.goal is Goal.COST else ""


def _context(scope: Scope) -> PassContext:
    context = scope.request.context
    return replace(
        context,
        goal=Goal.FIT if context.goal is Goal.LATENCY else context.goal,
        siblings=tuple(one.job for one in scope.siblings if isinstance(one, TuningSubject)),
        has_config_map=scope.has_config_map,
    )


def _is_misshapen(section: Section) -> bool:
    """Return whether a section is neither a mapping nor empty: nobody knows what is meant."""
    return isinstance(section.node, Sequence) or (isinstance(section.node, Scalar) and section.node.value not in _NULLS)
