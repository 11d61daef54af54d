"""`kaitoc run`: turn a manifest into a plan and execute it with the bundled runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from kaitoc.compiler.api.compiling import compiled, request_for
from kaitoc.compiler.api.running import PlanRequest, RunError, checked_plan, job_in, require_runtime, with_processes
from kaitoc.compiler.check.engine import Engine
from kaitoc.compiler.check.engine_options import EngineOptions
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import complain, say
from kaitoc.compiler.cli.emit import EngineCommandOptions, engine_options
from kaitoc.compiler.cli.option_records import AssumptionOptions
from kaitoc.compiler.cli.options import (
    F,
    assumption_options,
    config_option,
    isolated_option,
    shard_group_option,
    takes,
)
from kaitoc.compiler.compile.driver import describe_problem
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.sharing import SHARDING_WORDS

if TYPE_CHECKING:
    from kaitoc.compiler.engines.emit.emission import Emission
    from kaitoc.compiler.engines.report import ClusterReport
    from kaitoc.compiler.job.settings import SettingsFinder


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


@dataclass(frozen=True, slots=True)
class RunCommandOptions:
    """The command line of `kaitoc run`."""

    path: str
    assumptions: AssumptionOptions
    workspace: str | None
    device: str
    model_path: str | None
    data: str | None
    eval_data: str | None
    output: str | None
    merge: bool
    oci_layout: bool
    samples: int
    early_stopping: int | None
    allow_pickle: bool
    hub: bool
    resume: bool
    overwrite: bool
    grace_seconds: float | None
    no_cache: bool
    dry_run: bool
    place: str
    auto_fit: bool
    num_processes: int | None
    sharding: str
    shard_group: int | None
    task: str
    report: str | None
    metrics_port: int | None
    skip_bad_rows: bool
    timeout: float | None
    wait_for_api: float
    force_conflicts: bool
    config: str | None
    isolated: bool
    engine: EngineCommandOptions

    @property
    def settings(self) -> SettingsFinder:
        """Return the finder of settings; raises `SettingsError` for --isolated with --config."""
        return EngineOptions(isolated=self.isolated, config=self.config).settings

    @property
    def request(self) -> PlanRequest:
        """Build the request for a local run from the command line."""
        return PlanRequest(
            workspace=self.workspace,
            model_path=self.model_path,
            data=self.data,
            eval_data=self.eval_data,
            output=self.output,
            merge=self.merge,
            oci_layout=self.oci_layout,
            samples=self.samples,
            early_stopping=self.early_stopping,
            allow_pickle=self.allow_pickle,
            hub=self.hub,
            skip_bad_rows=self.skip_bad_rows,
            num_processes=self.num_processes,
            sharding=self.sharding,
            shard_group=self.shard_group,
            task=self.task,
        )


def _engine_options(command: F) -> F:
    for option in reversed(engine_options("With --on trainjob or jobset")):
        command = option(command)
    return command


@click.command()
@click.argument("path", shell_complete=complete_path)
@assumption_options
@click.option("--workspace", metavar="N", help="Workspace to run, if the file has several.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--model-path", metavar="P", help="The model's folder (in Kaito's image: /workspace/tfs/weights).")
@click.option("--data", metavar="P", help="Training data, a file or a folder (in Kaito's image: /mnt/data).")
@click.option("--eval-data", metavar="P", help="Data for evaluation only, a file or a folder; needs `eval_strategy`.")
@click.option("--output", metavar="P", help="Where the adapter goes (in Kaito's image: the output_dir).")
@click.option("--merge", is_flag=True, help="Also write the model with the adapter merged into it.")
@click.option("--oci-layout", is_flag=True, help="Also pack the adapter as an image that Kaito's inference pulls.")
@click.option(
    "--samples",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Answer N rows with and without the adapter after training, for the report.",
)
@click.option(
    "--early-stopping", type=click.IntRange(1), metavar="N", help="Stop after N evaluations without improvement."
)
@click.option("--allow-pickle", is_flag=True, help="Allow weights that are not safetensors (pickle).")
@click.option("--hub", is_flag=True, help="Download the model from the Hugging Face Hub if it is not cached.")
@click.option(
    "--resume", is_flag=True, help="Continue from the newest complete checkpoint in --output, if there is one."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run's files in --output.")
@click.option(
    "--grace-seconds",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    metavar="S",
    help="Time for worker processes to save a checkpoint after SIGTERM (default: KAITOC_GRACE_SECONDS, else 25).",
)
@click.option("--no-cache", is_flag=True, help="Tokenize the data again, and do not cache the tokens.")
@click.option("--dry-run", is_flag=True, help="Print the plan as JSON and stop.")
@click.option(
    "--on",
    "place",
    type=click.Choice(["local", "cluster", "trainjob", "jobset"]),
    default="local",
    show_default=True,
    help="Run here, or apply with kubectl and follow: the Workspace, or a TrainJob or JobSet made of it.",
)
@click.option("--auto-fit", is_flag=True, help="If it does not fit the GPU, retry with settings that need less memory.")
@click.option("--num-processes", type=click.IntRange(1), metavar="N", help="Processes to start (default: one per GPU).")
@click.option(
    "--sharding",
    type=click.Choice(SHARDING_WORDS),
    default="auto",
    show_default=True,
    help="Whether processes hold whole copies of the model or shards; auto shards a model that outgrows a GPU.",
)
@shard_group_option
@click.option(
    "--task",
    type=click.Choice(["sft", "dpo"]),
    default="sft",
    show_default=True,
    help="Learn text, or prefer `chosen` over `rejected` answers (direct preference optimization).",
)
@click.option(
    "--report",
    metavar="FILE",
    shell_complete=complete_path,
    help="On a cluster: write a JSON report of the run, taken from its log.",
)
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), metavar="PORT", help="Serve Prometheus metrics on this port."
)
@click.option("--skip-bad-rows", is_flag=True, help="Skip and count malformed rows instead of stopping at the first.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="On a cluster: stop following after S seconds and exit 1; the run continues.",
)
@click.option(
    "--wait-for-api",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="S",
    help="On a cluster: seconds to wait for an unreachable API server.",
)
@click.option("--force-conflicts", is_flag=True, help="On a cluster: take over fields that another field manager owns.")
@config_option
@isolated_option
@_engine_options
@takes(RunCommandOptions, engine=EngineCommandOptions)  # fmt: skip
def run(options: RunCommandOptions) -> int:
    """Execute the fine-tune of a manifest, on a GPU or on the CPU.

    Kaito's paths are mapped by --model-path, --data and --output, so the manifest itself runs unchanged.
    """
    if options.place != "local":
        _require_none_of_a_run_here(options.place)
    if options.place != "local" and options.task != "sft":
        raise RunError(f"--task {options.task} needs a local run; --on {options.place} trains on text")
    if options.place in ("trainjob", "jobset"):
        return _on_engine(options)
    options.engine.require_none("--on trainjob or jobset")
    if options.place == "cluster":
        if options.shard_group is not None:
            raise RunError("--shard-group is incompatible with --on cluster: Kaito's image runs whole copies (ddp)")
        return _on_cluster(options)
    if options.report is not None:
        raise RunError("--report needs --on cluster; a local run writes report.json into its output folder")
    if options.resume and options.overwrite:
        raise RunError("--resume and --overwrite are mutually exclusive")
    checked = checked_plan(options.path, options.assumptions.overrides, options.request, options.settings)
    for warning in checked.warnings:
        complain(f"{warning.path}:{warning.line}:{warning.column}: {warning.code} warning: {warning.message}")
    made = checked.plan
    if options.dry_run:
        click.echo(made.to_json(), nl=False)
        return 0
    require_runtime()
    from kaitoc.runtime.__main__ import execute  # torch and transformers take seconds
    from kaitoc.runtime.launch.processes import Execution
    from kaitoc.runtime.world import default_num_processes

    if options.num_processes is None:
        made = with_processes(made, default_num_processes(options.device), options.sharding)
    how = Execution(
        options.device,
        resume=options.resume,
        overwrite=options.overwrite,
        metrics_port=options.metrics_port,
        grace_seconds=options.grace_seconds,
        use_cache=not options.no_cache,
    )
    return execute(made, how, auto_fit=options.auto_fit)


def _require_none_of_a_run_here(place: str) -> None:
    """Raise `RunError` for an option that what a cluster starts would not hear of."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in _HEARD_BY_A_CLUSTER and source is ParameterSource.COMMANDLINE:
            raise RunError(f"{parameter.opts[0]} needs a local run; --on {place} runs the manifest as it is written")


def _on_cluster(options: RunCommandOptions) -> int:
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


def _on_engine(options: RunCommandOptions) -> int:
    """Emit the manifests of a TrainJob or JobSet, apply them with kubectl and follow them; return the exit code."""
    from kaitoc.compiler.api.emitting import emissions  # a run here needs none of them
    from kaitoc.compiler.engines.apply import ApplyOptions
    from kaitoc.compiler.engines.follow import FollowOptions
    from kaitoc.compiler.engines.kubectl import ClusterError
    from kaitoc.compiler.engines.kubeflow import run_emitted
    from kaitoc.compiler.engines.report import report_of

    asked = options.engine.of(options.place, options.shard_group)
    request = request_for(options.assumptions.overrides, settings=options.settings)
    emission = _chosen(emissions((options.path,), request, asked, options.workspace), options.path)
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
