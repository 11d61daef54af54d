"""`kaitoc run --on`: apply what a manifest compiles to with kubectl and follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.console import complain, say
from kaitoc.compiler.cli.emit import EngineCommandOptions
from kaitoc.compiler.cli.option_records import AssumptionOptions
from kaitoc.compiler.cli.run_options import RunCommandOptions
from kaitoc.compiler.compile.driver import describe_problem
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.plan.request import RunError
from kaitoc.compiling import compiled, request_for
from kaitoc.running import job_in

if TYPE_CHECKING:
    from kaitoc.compiler.engines.emission import Emission
    from kaitoc.compiler.engines.report import ClusterReport

_HEARD_BY_A_CLUSTER = frozenset(
    {
        "path",
        "workspace",
        "dry_run",
        "place",
        "task",
        "report",
        "timeout",
        "wait_for_api",
        "force_conflicts",
        "shard_group",
        "config",
        "isolated",
    }
    | set(AssumptionOptions.__slots__)
    | set(EngineCommandOptions.__slots__)
)
"""The others say how this machine runs a plan, or change the plan that it runs."""


def require_none_of_a_run_here(place: str) -> None:
    """Raise `RunError` for an option that what a cluster starts would not hear of."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _HEARD_BY_A_CLUSTER and source is ParameterSource.COMMANDLINE:
            raise RunError(f"{parameter.opts[0]} needs a local run; --on {place} runs the manifest as it is written")


def run_on_kaito(options: RunCommandOptions) -> int:
    """Compile a manifest, apply it with kubectl and follow it; return the exit code."""
    from kaitoc.compiler.engines.apply import ApplyOptions  # a run here needs none of them
    from kaitoc.compiler.engines.follow import FollowOptions
    from kaitoc.compiler.engines.kaito import ClusterTarget, run_on_cluster
    from kaitoc.compiler.engines.kubectl import ClusterError
    from kaitoc.compiler.engines.report import report_of

    path = options.path
    request = request_for(options.assumptions.overrides, settings=options.settings)
    engine = Engine(request.rule_set, request.overrides, request.settings)
    engine.library.add_given(path)
    workspace = job_in(engine, path, options.workspace).workspace
    if workspace is None:
        raise RunError(f"{path}: no Workspace in it, so there is nothing to run on a cluster", path=path)
    result = compiled(Inputs((path,)), request)
    if result.errors or result.is_refused:
        problems = [*map(str, result.errors), *map(describe_problem, result.problems)]
        raise RunError("\n".join([*problems, *(job.binding for job in result.jobs if job.binding)]), path=path)
    target = ClusterTarget(workspace.ref.name, workspace.ref.namespace)
    try:
        lines = run_on_cluster(
            [file.text for file in result.files],
            target,
            click.echo,
            applying=ApplyOptions(options.force_conflicts, options.wait_for_api),
            following=FollowOptions(options.timeout, options.wait_for_api),
            is_dry_run=options.dry_run,
        )
        if not options.dry_run:
            _tell(report_of(target.name, lines), options.report)
    except ClusterError as error:
        complain(str(error))
        return error.exit_code
    return 0


def run_on_engine(options: RunCommandOptions) -> int:
    """Emit the manifests of a TrainJob or JobSet, apply them with kubectl and follow them; return the exit code."""
    from kaitoc.compiler.engines.apply import ApplyOptions
    from kaitoc.compiler.engines.follow import FollowOptions
    from kaitoc.compiler.engines.kubectl import ClusterError
    from kaitoc.compiler.engines.kubeflow import run_emitted
    from kaitoc.compiler.engines.report import report_of
    from kaitoc.emitting import emissions  # a run here needs none of them

    asked = options.engine.of(options.place, options.shard_group)
    request = request_for(options.assumptions.overrides, settings=options.settings)
    emission = _chosen(emissions(Inputs((options.path,)), request, asked, options.workspace), options.path)
    for note in emission.notes:
        complain(note)
    try:
        lines = run_emitted(
            emission,
            click.echo,
            applying=ApplyOptions(options.force_conflicts, options.wait_for_api),
            following=FollowOptions(options.timeout, options.wait_for_api),
            is_dry_run=options.dry_run,
        )
    except ClusterError as error:
        complain(str(error))
        return error.exit_code
    if not options.dry_run:
        _tell(report_of(emission.name, lines), options.report)
        click.echo(f"{'adapter':<10}{emission.output}/adapter in claim {emission.results_claim}")
    return 0


def _chosen(found: list[Emission], path: str) -> Emission:
    if len(found) > 1:
        raise RunError(f"{path}: there are several Workspaces; choose one with --workspace", path=path)
    return found[0]


def _tell(report: ClusterReport, file: str | None) -> None:
    """Print a report and write it to a file when one is named; raises `RunError` where that cannot be written."""
    say(report.to_text())
    if file is None:
        return
    try:
        write_atomically(file, report.to_json().encode())
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror or error}", path=file) from error
