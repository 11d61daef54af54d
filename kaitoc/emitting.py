"""Turns manifests for Kaito into manifests that run the same fine-tune on another engine."""

from __future__ import annotations

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.compile.model import CompileRequest
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.engines.emission import Emission, emission_of
from kaitoc.compiler.engines.emit_options import MAX_NODES, EmitError, EmitOptions
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.plan.request import RunError
from kaitoc.compiling import compiled
from kaitoc.running import findings_of_run


def emissions(
    inputs: Inputs, request: CompileRequest, options: EmitOptions, workspace: str | None = None
) -> list[Emission]:
    """Return the manifests of each tuning Workspace in files, as compiled for the bundled runtime.

    What keeps a Workspace from Kaito alone, such as `resource.count` above 1 or one GPU that is too small, stops
    nothing here. Without `num_nodes` stated it is `resource.count`. Where the number is left to the memory engine, so
    is the instance type, if the request may change it: what is too small for one node may be right for three. Raises
    `RunError`, `EmitError`, `PlanError` and `SourceError`.
    """
    request = replace(request, overrides=replace(request.overrides, target="bundled"))
    if request.overrides.gpu is not None or request.overrides.gpu_memory_gib is not None:
        raise EmitError("the nodes have the GPUs of `resource.instanceType`; change it there and leave out --gpu")
    if options.num_nodes is None:
        options = replace(options, may_change_instance=request.context.allow_workspace_edits)
        request = replace(request, context=replace(request.context, allow_workspace_edits=False))
    engine = Engine(request.rule_set, request.overrides, request.settings)
    if inputs.text is not None:
        engine.library.add_source(inputs.text)
    result = compiled(inputs, request)
    for error in result.errors:
        raise error
    if not result.is_refused:
        for file in result.files:
            engine.library.add_source(Source(file.source.path, file.text, file.source.has_bom))
    found: list[Emission] = []
    for path in dict.fromkeys(file.source.path for file in result.files if file.is_given):
        findings_of_run(engine, path)
        jobs = [job for job in engine.jobs_of(engine.library.load(path)) if _is_wanted(job, workspace)]
        found += [emission_of(job, _with_count(job, options)) for job in jobs]
    if not found:
        raise RunError(f"{', '.join(inputs.paths)}: there is no tuning Workspace in it")
    names = [emission.name for emission in found]
    if len(set(names)) < len(names):
        raise EmitError("two Workspaces would create the same run; rename one of them")
    return found


def _is_wanted(job: Job, name: str | None) -> bool:
    return job.workspace is not None and name in (None, job.workspace.ref.name)


def _with_count(job: Job, options: EmitOptions) -> EmitOptions:
    """Return the options with the number of nodes that the Workspace asks for, where the user stated none."""
    if options.num_nodes != 0:
        return options
    field = job.workspace.given("resource", "count") if job.workspace is not None else None
    if field is None:
        return replace(options, num_nodes=1)
    text = field.text or ""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_NODES:
        raise EmitError(f"`resource.count: {text}`: expected a number from 1 to {MAX_NODES}; --nodes states another")
    return replace(options, num_nodes=int(text))
