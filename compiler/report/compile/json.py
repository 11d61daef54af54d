"""The compile report as JSON, version 1."""

from __future__ import annotations

import json
from dataclasses import asdict

from kaitoc.compiler.compile.model import (
    AppliedChange,
    Compilation,
    CompiledJob,
    InstanceProposal,
    Performance,
    ServerPerformance,
)
from kaitoc.compiler.core.edits import unified_diff
from kaitoc.compiler.report.compile.json_model import (
    JsonChange,
    JsonCompiledJob,
    JsonCompileReport,
    JsonFile,
    JsonPerformance,
    JsonProblem,
    JsonProposal,
    JsonServerPerformance,
)
from kaitoc.compiler.report.formats.json import to_json_job
from kaitoc.compiler.report.json_model import JsonPosition, JsonSpan


def render(result: Compilation) -> str:
    """Render the compile report as indented ASCII JSON."""
    return json.dumps(asdict(to_json(result)), indent=2) + "\n"


def to_json(result: Compilation) -> JsonCompileReport:
    """Return the report in the shape of version 1; `refused` says that nothing may be written."""
    return JsonCompileReport(
        version=1,
        goal=result.goal.value,
        refused=result.is_refused,
        files=[
            JsonFile(file.source.path, file.is_changed, unified_diff(file.source, file.text) if file.is_changed else "")
            for file in result.files
        ],
        jobs=[_job(job) for job in result.jobs],
        problems=[
            JsonProblem(
                problem.code,
                problem.message,
                problem.source.path,
                JsonPosition(*problem.source.position(problem.span.start)),
            )
            for problem in result.problems
        ],
    )


def _job(job: CompiledJob) -> JsonCompiledJob:
    return JsonCompiledJob(
        before=to_json_job(job.before),
        after=to_json_job(job.after),
        performance_before=_performance(job.performance_before),
        performance_after=_performance(job.performance_after),
        changes=[_change(change) for change in job.changes],
        binding=job.binding,
        proposal=_proposal(job.proposal) if isinstance(job.proposal, InstanceProposal) else None,
    )


def _change(change: AppliedChange) -> JsonChange:
    return JsonChange(
        pass_name=change.pass_name,
        what=change.what,
        before=change.before,
        after=change.after,
        reason=change.reason,
        preserves=change.preserves.value,
        file=change.path,
        span=JsonSpan(JsonPosition(*change.position), JsonPosition(*change.end)),
        pointer=change.pointer,
        code=change.code,
        performance_before=_performance(change.performance_before),
        performance_after=_performance(change.performance_after),
    )


def _performance(performance: Performance) -> JsonPerformance:
    return JsonPerformance(
        peak_bytes=performance.peak_bytes,
        tokens_per_second=performance.tokens_per_second,
        step_seconds=performance.step_seconds,
        price_per_million_tokens=performance.usd_per_million_tokens,
        server=_server(performance.server) if performance.server is not None else None,
    )


def _server(server: ServerPerformance) -> JsonServerPerformance:
    speed = server.speed
    return JsonServerPerformance(
        kv_tokens=server.kv_tokens,
        context_tokens=server.context_tokens,
        num_requests=round(server.num_requests, 4),
        num_nodes=server.num_nodes,
        first_token_seconds=speed.first_token_seconds if speed is not None else None,
        token_seconds=speed.token_seconds if speed is not None else None,
        prompt_tokens=speed.shape.prompt_tokens if speed is not None else None,
        output_tokens=speed.shape.output_tokens if speed is not None else None,
    )


def _proposal(proposal: InstanceProposal) -> JsonProposal:
    return JsonProposal(
        instance_type=proposal.name,
        gpu=proposal.gpu,
        num_gpus=proposal.num_gpus,
        peak_bytes=proposal.peak_bytes,
        capacity_bytes=proposal.capacity_bytes,
        num_changes=proposal.num_changes,
    )
