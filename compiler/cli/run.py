"""`kaitoc run`: turn a manifest into a plan and execute it with the bundled runtime."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.check.engine import Engine, RuleSet
from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.options import assumption_options, overrides
from kaitoc.compiler.compile.model import CompileError
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.source import Source, SourceError, write_atomically
from kaitoc.compiler.job.assumptions import AssumptionError, Overrides
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.settings import SettingsError, SettingsFinder
from kaitoc.compiler.plan.memory import with_prediction
from kaitoc.compiler.plan.of_job import plan_of
from kaitoc.compiler.plan.plan import Plan, PlanError

if TYPE_CHECKING:
    from kaitoc.compiler.engines.report import ClusterReport

EXIT_FAILED = 1
EXIT_USAGE = 2


class RunError(ValueError):
    """A run that cannot be started as asked; `str(error)` is for the user."""


@click.command()
@click.argument("path", shell_complete=complete_path)
@assumption_options
@click.option("--workspace", metavar="N", help="Which Workspace of the file to run, when it has several.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option("--model-path", metavar="P", help="The model's folder (in Kaito's image: /workspace/tfs/weights).")
@click.option("--data", metavar="P", help="Training data, a file or a folder (in Kaito's image: /mnt/data).")
@click.option("--output", metavar="P", help="Where the adapter goes (in Kaito's image: the output_dir).")
@click.option("--merge", is_flag=True, help="Also write the model with the adapter merged into it.")
@click.option("--oci-layout", is_flag=True, help="Also pack the adapter as an image that Kaito's inference pulls.")
@click.option(
    "--early-stopping", type=click.IntRange(1), metavar="N", help="Stop after N evaluations without a better one."
)
@click.option("--allow-pickle", is_flag=True, help="Take weights that are no safetensors.")
@click.option("--resume", is_flag=True, help="Continue from the newest whole checkpoint in --output, if there is one.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier run wrote into --output.")
@click.option(
    "--grace-seconds",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    metavar="S",
    help="Time for worker processes to save a checkpoint after SIGTERM (default: KAITOC_GRACE_SECONDS, else 25).",
)
@click.option("--dry-run", is_flag=True, help="Print the plan as JSON and stop.")
@click.option(
    "--on",
    "place",
    type=click.Choice(["local", "cluster"]),
    default="local",
    show_default=True,
    help="Run here, or apply the compiled manifests with kubectl and follow the Workspace.",
)
@click.option("--auto-fit", is_flag=True, help="When it does not fit the GPU, try again with less memory.")
@click.option("--num-processes", type=click.IntRange(1), metavar="N", help="How many; one per GPU unless given.")
@click.option(
    "--sharding",
    type=click.Choice(["auto", "ddp", "fsdp"]),
    default="auto",
    show_default=True,
    help="Whether processes hold whole copies of the model or shares; auto shards what outgrows a GPU.",
)
@click.option(
    "--report",
    metavar="FILE",
    shell_complete=complete_path,
    help="With --on cluster: write what the log tells of the run as JSON.",
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), metavar="PORT", help="Serve numbers to Prometheus.")
@click.option("--skip-bad-rows", is_flag=True, help="Count malformed rows instead of stopping at the first.")
@click.pass_context  # fmt: skip
def run(ctx: click.Context, /, path: str, **options: Any) -> None:
    """Execute the fine-tune of a manifest, on a GPU or on the CPU.

    Kaito's paths are mapped by --model-path, --data and --output, so the manifest itself runs unchanged.
    """
    try:
        if options["place"] == "cluster":
            ctx.exit(_on_cluster(path, options))
        if options["report"] is not None:
            raise RunError("--report goes with --on cluster; a run here writes report.json into its output folder")
        if options["resume"] and options["overwrite"]:
            raise RunError("--resume continues what --overwrite would replace: name one of the two")
        plan = _plan(path, options)
        if options["dry_run"]:
            click.echo(plan.to_json(), nl=False)
            return
        _require_runtime()
    except (AssumptionError, CompileError, PlanError, RunError, SettingsError, SourceError) as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(EXIT_USAGE)
    from kaitoc.runtime.__main__ import execute
    from kaitoc.runtime.launch.processes import Execution
    from kaitoc.runtime.world import num_gpus

    if options["num_processes"] is None:
        plan = plan.model_copy(update={"num_processes": num_gpus(options["device"])})
    ctx.exit(
        execute(
            plan,
            Execution(
                options["device"],
                resume=options["resume"],
                overwrite=options["overwrite"],
                metrics_port=options["metrics_port"],
                grace_seconds=options["grace_seconds"],
            ),
            auto_fit=options["auto_fit"],
        )
    )


def _on_cluster(path: str, options: dict[str, Any]) -> int:
    """Compile a manifest, apply it with kubectl and follow it; return the exit code."""
    from kaitoc.compiler.compile.driver import compile_files, describe_problem
    from kaitoc.compiler.compile.model import CompileRequest
    from kaitoc.compiler.engines.kaito import ClusterError, Target, run_on_cluster
    from kaitoc.compiler.engines.report import report_of
    from kaitoc.rules import FILE_RULES, JOB_RULES

    rule_set = RuleSet(FILE_RULES, JOB_RULES)
    chosen, settings = overrides(options), SettingsFinder()
    workspace = _job(_indexed(rule_set, chosen, path), path, options["workspace"]).workspace
    if workspace is None:
        raise RunError(f"{path}: there is no Workspace in it, so there is nothing that a cluster could run")
    result = compile_files([path], CompileRequest(chosen, settings, rule_set))
    if result.errors or result.is_refused:
        problems = [*result.errors, *map(describe_problem, result.problems), *(job.binding for job in result.jobs)]
        raise RunError("\n".join(problem for problem in problems if problem))
    target = Target(workspace.ref.name, workspace.ref.namespace)
    try:
        lines = run_on_cluster([file.text for file in result.files], target, click.echo, dry_run=options["dry_run"])
        if not options["dry_run"]:
            _tell(report_of(target.name, lines), options["report"])
    except ClusterError as error:
        click.echo(f"kaitoc: {error}", err=True)
        return EXIT_FAILED
    return 0


def _tell(report: ClusterReport, file: str | None) -> None:
    """Print a report and write it to a file when one is named; raises `RunError` where that cannot be written."""
    click.echo(report.to_text())
    if file is None:
        return
    try:
        write_atomically(file, report.to_json().encode())
    except OSError as error:
        raise RunError(f"{file}: cannot be written: {error.strerror or error}") from error


def _indexed(rule_set: RuleSet, chosen: Overrides, path: str) -> Engine:
    engine = Engine(rule_set, chosen, SettingsFinder())
    engine.library.add_given(path)
    return engine


def _plan(path: str, options: dict[str, Any]) -> Plan:
    from kaitoc.rules import FILE_RULES, JOB_RULES

    chosen = replace(overrides(options), target=options["target"] or "bundled")
    engine = Engine(RuleSet(FILE_RULES, JOB_RULES), chosen, SettingsFinder())
    outcome = engine.check([path])
    if outcome.errors:
        raise SourceError(outcome.errors[0])
    for checked in outcome.checked:
        if checked.note and checked.num_kaito_objects == 0:
            raise RunError(checked.note)
    errors = [finding for finding in outcome.findings if _stops(finding.code, finding.severity)]
    if errors:
        first = errors[0]
        line = first.source.position(first.span.start).line
        raise RunError(
            f"{first.source.path}:{line}: {first.code} {first.message}\n"
            f"{len(errors)} error(s) stop the run; `kaitoc check {path} --target bundled` shows all"
        )
    job = _job(engine, path, options["workspace"])
    plan = plan_of(
        job,
        model_path=options["model_path"],
        data=options["data"],
        output=options["output"],
        skip_bad_rows=options["skip_bad_rows"],
        num_processes=options["num_processes"] or 1,
    )
    plan = _with_options(plan, options)
    local = _local_architecture(options["model_path"])
    return with_prediction(plan, local, job.gpu.value if job.gpu is not None else None) if local is not None else plan


def _with_options(plan: Plan, options: dict[str, Any]) -> Plan:
    """Return a plan with what the command line says and a manifest has no words for."""
    changes = {
        "model": {"allow_pickle": options["allow_pickle"]},
        "output": {"merge": options["merge"], "oci_layout": options["oci_layout"]},
        "training": {"early_stopping_patience": options["early_stopping"]},
    }
    parts = {name: getattr(plan, name).model_copy(update=change) for name, change in changes.items()}
    return plan.model_copy(update={**parts, "sharding": options["sharding"]})


def _local_architecture(folder: str | None) -> Architecture | None:
    """Return the architecture of a model folder, None when the closed form does not know it."""
    path = os.path.join(folder, "config.json") if folder is not None else ""
    if folder is None or not os.path.isfile(path):
        return None
    try:
        return from_config(os.path.basename(os.path.normpath(folder)), json.loads(Source.read(path).text))
    except (ArchitectureError, SourceError, ValueError, RecursionError):
        return None


_OF_THE_CLUSTER = (Area.ADMISSION, Area.MEMORY)


def _stops(code: str, severity: Severity) -> bool:
    """Return whether a finding stops a run: what only Kaito's cluster would refuse, or only its GPU, does not."""
    return severity is Severity.ERROR and area_of(code) not in _OF_THE_CLUSTER


def _job(engine: Engine, path: str, workspace: str | None) -> Job:
    jobs = list(engine.jobs_of(engine.library.load(path)))
    if workspace is not None:
        jobs = [job for job in jobs if job.workspace is not None and job.workspace.ref.name == workspace]
        if not jobs:
            raise RunError(f"{path}: there is no tuning Workspace `{workspace}`")
    if not jobs:
        raise RunError(f"{path}: there is no tuning Workspace or training config in it")
    if len(jobs) > 1:
        names = ", ".join(job.manifest.ref.name for job in jobs)
        raise RunError(f"{path}: there are several jobs ({names}); choose one with --workspace")
    return jobs[0]


def _require_runtime() -> None:
    missing = [name for name in ("torch", "transformers", "peft", "trl", "datasets") if find_spec(name) is None]
    if missing:
        raise RunError(f'the runtime needs {", ".join(missing)}; install it with `pip install "kaitoc[runtime]"`')
