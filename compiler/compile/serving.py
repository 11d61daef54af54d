"""A server as the driver sees it: its passes, what they give, and what keeps it from starting."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.compile.model import CompileRequest, InstanceProposal, Performance, ServerPerformance
from kaitoc.compiler.compile.subject import PassChange, Scope, Subject, manifest_sources
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.missing_config import missing_serving_config
from kaitoc.compiler.job.serving_drift import starts
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory, summarize_server
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.manifest.objects import Manifest
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.speed import shape_within
from kaitoc.compiler.passes import SERVING_PASSES
from kaitoc.compiler.passes.model import Binding, Change, Goal, known_changes
from kaitoc.compiler.passes.server_costs import missing_price, usd_of
from kaitoc.compiler.passes.server_instance import NAME as INSTANCE_PASS
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_run import run_of
from kaitoc.compiler.passes.server_way_out import binding_of_server
from kaitoc.compiler.passes.speed_server import SPEED_GOALS
from kaitoc.compiler.yaml.placeholders import UnknownValueError

SPEED_NOTE = "server speeds are estimates for comparing configurations; measured servers took 1.2 to 3 times as long"
"""By the runs of tests/bench/serving, which docs/throughput.md lists."""


@dataclass(frozen=True, slots=True, eq=False)
class ServingSubject:
    """A Workspace with `inference`, an InferenceSet, a role of a MultiRoleInference, or a ConfigMap for one."""

    job: ServingJob

    @property
    def manifest(self) -> Manifest:
        """Return the object that serves, else the ConfigMap."""
        return self.job.manifest

    @property
    def config_map(self) -> Manifest | None:
        """Return the ConfigMap of the server."""
        return self.job.config_map

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the files of the object and of its ConfigMap."""
        return manifest_sources(self.job.view.owner if self.job.view is not None else None, self.job.config_map)

    @property
    def missing_config(self) -> str:
        """Name the missing ConfigMap that the object references; empty when it was found or none is named."""
        return missing_serving_config(self.job)

    @property
    def is_readable(self) -> bool:
        """Return whether launcher and vLLM take the config, as far as it is known."""
        job = self.job
        try:
            return not job.uses_vllm or ((job.config is None or job.is_readable) and starts(job))
        except UnknownValueError:
            return True

    @property
    def may_start(self) -> bool:
        """Return whether nothing is known to keep the server from starting."""
        return self.is_readable and serving_memory(self.job).verdict is not Verdict.DOES_NOT_FIT

    def changes(self, scope: Scope) -> Iterator[PassChange]:
        """Yield what `SERVING_PASSES` want; nothing after which a server may not start that may as it is."""
        context, files = _context(scope), self.sources
        for step in SERVING_PASSES:
            for change in known_changes(step, self.job, context):
                if all(edit.source in files for edit in change.edits) and self._is_harmless(step.NAME, change, scope):
                    yield PassChange(step.NAME, change)

    def _is_harmless(self, pass_name: str, change: Change, scope: Scope) -> bool:
        """Return whether all servers that a change touches start as before, on as many nodes unless it chooses them."""
        after = scope.after(change)
        pairs = zip((self, *scope.siblings), after, strict=False)
        return bool(after) and all(_is_as_good(one, other, pass_name) for one, other in pairs)

    def performance(self, request: CompileRequest) -> Performance:
        """Predict the server's memory and KV cache; with a goal also its speed."""
        memory = serving_memory(self.job)
        footprint = memory.footprint
        if footprint is None:
            return Performance()
        length, run = footprint.length_tokens, run_of(self.job)
        speed = run.speed(shape_within(length)) if run is not None and request.goal in SPEED_GOALS else None
        return Performance(
            tokens_per_second=speed.tokens_per_second if speed is not None else None,
            usd_per_million_tokens=usd_of(self.job, run, speed) if run is not None and speed is not None else None,
            server=ServerPerformance(
                kv_tokens=footprint.kv_tokens if length else 0,
                context_tokens=length,
                num_requests=footprint.concurrency(length) if length else 0.0,
                num_nodes=memory.num_nodes,
                speed=speed,
            ),
        )

    def summary(self) -> JobSummary:
        """Summarize the server for the report's list of jobs."""
        return summarize_server(self.job)

    def binding(self, scope: Scope) -> Binding:
        """Return why the server does not start, and what would let it."""
        return binding_of_server(self.job, _context(scope))

    def proposal(self, _: Scope) -> InstanceProposal | None:
        """Return none: a server's room is its KV cache, for which no instance type is too large."""
        return None

    def note(self, request: CompileRequest) -> str:
        """Explain the error of speed predictions, a missing price, or a goal that does not apply to servers."""
        if request.goal is Goal.MEMORY:
            return "--goal memory is for training runs; servers are compiled to start"
        lacking = missing_price(self.job) if request.goal is Goal.COST else ""
        return lacking or (SPEED_NOTE if request.goal in SPEED_GOALS else "")


def _is_as_good(before: Subject, after: Subject, pass_name: str) -> bool:
    if not isinstance(before, ServingSubject) or not isinstance(after, ServingSubject):
        return True
    is_started = after.may_start or not before.may_start
    keeps_nodes = pass_name == INSTANCE_PASS or not before.is_readable or _keeps_nodes(before.job, after.job)
    return is_started and keeps_nodes


def _keeps_nodes(before: ServingJob, after: ServingJob) -> bool:
    """Return whether Kaito starts as many nodes as before; where it refuses to start any, each number is better."""
    now, then = before.kaito_nodes, after.kaito_nodes
    if now is None:
        return then is None
    return now.num_nodes is None or (then is not None and then.num_nodes == now.num_nodes)


def _context(scope: Scope) -> ServingContext:
    request = scope.request
    return ServingContext(
        goal=Goal.FIT if request.goal is Goal.MEMORY else request.goal,
        preserve=request.context.preserve,
        rules=request.rule_set.serving_rules,
        allow_workspace_edits=request.context.allow_workspace_edits,
        siblings=tuple(one.job for one in scope.siblings if isinstance(one, ServingSubject)),
        has_config_map=scope.has_config_map,
    )
