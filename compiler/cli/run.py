"""`kaitoc run`: turn a manifest into a plan and execute it with the bundled runtime."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.completion import complete_path
from kaitoc.compiler.cli.console import complain
from kaitoc.compiler.cli.emit import EngineCommandOptions, engine_options
from kaitoc.compiler.cli.option_types import Choice, Integer, Number
from kaitoc.compiler.cli.options import (
    F,
    assumption_options,
    config_option,
    isolated_option,
    shard_group_option,
    takes,
)
from kaitoc.compiler.cli.run_on_cluster import require_none_of_a_run_here, run_on_engine, run_on_kaito
from kaitoc.compiler.cli.run_options import RunCommandOptions
from kaitoc.compiler.memory.sharing import SHARDING_WORDS
from kaitoc.compiler.plan.request import RunError, with_processes
from kaitoc.running import checked_plan, require_runtime


def _engine_options(command: F) -> F:
    for option in reversed(engine_options("With --on trainjob or jobset")):
        command = option(command)
    return command


@click.command()
@click.argument("path", shell_complete=complete_path)
@assumption_options
@click.option("--workspace", metavar="N", help="Workspace to run, if the file has several.")
@click.option("--device", type=Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True,
              help="Device to train on; auto takes a GPU where there is one.")  # fmt: skip
@click.option("--model-path", metavar="P", help="The model's folder (in Kaito's image: /workspace/tfs/weights).")
@click.option("--data", metavar="P", help="Training data, a file or a folder (in Kaito's image: /mnt/data).")
@click.option("--eval-data", metavar="P", help="Data for evaluation only, a file or a folder; needs `eval_strategy`.")
@click.option("--output", metavar="P", help="Where the adapter goes (in Kaito's image: the output_dir).")
@click.option("--merge", is_flag=True, help="Also write the model with the adapter merged into it.")
@click.option("--oci-layout", is_flag=True, help="Also pack the adapter as an image that Kaito's inference pulls.")
@click.option(
    "--samples",
    type=Integer(0),
    default=0,
    metavar="N",
    help="Answer N rows with and without the adapter after training, for the report.",
)
@click.option("--early-stopping", type=Integer(1), metavar="N", help="Stop after N evaluations without improvement.")
@click.option("--allow-pickle", is_flag=True, help="Allow weights that are not safetensors (pickle).")
@click.option("--hub", is_flag=True, help="Download the model from the Hugging Face Hub if it is not cached.")
@click.option(
    "--resume", is_flag=True, help="Continue from the newest complete checkpoint in --output, if there is one."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run's files in --output.")
@click.option(
    "--grace-seconds",
    type=Number(min=0, min_open=True, max=86_400),
    metavar="S",
    help="Time for worker processes to save a checkpoint after SIGTERM (default: KAITOC_GRACE_SECONDS, else 25).",
)
@click.option("--no-cache", is_flag=True, help="Tokenize the data again, and do not cache the tokens.")
@click.option("--dry-run", is_flag=True, help="Print the plan as JSON and stop.")
@click.option(
    "--on",
    "place",
    type=Choice(["local", "cluster", "trainjob", "jobset"]),
    default="local",
    show_default=True,
    help="Run here, or apply the Workspace, or a TrainJob or JobSet made from it, with kubectl and follow it.",
)
@click.option("--auto-fit", is_flag=True, help="If it does not fit the GPU, retry with settings that need less memory.")
@click.option("--num-processes", type=Integer(1), metavar="N", help="Processes to start (default: one per GPU).")
@click.option(
    "--sharding",
    type=Choice(SHARDING_WORDS),
    default="auto",
    show_default=True,
    help="Whether processes hold whole copies of the model or shards; auto shards a model that outgrows a GPU.",
)
@shard_group_option
@click.option(
    "--task",
    type=Choice(["sft", "dpo"]),
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
@click.option("--metrics-port", type=Integer(1, 65535), metavar="PORT", help="Serve Prometheus metrics on this port.")
@click.option("--skip-bad-rows", is_flag=True, help="Skip and count malformed rows instead of stopping at the first.")
@click.option(
    "--timeout",
    type=Number(min=0, min_open=True),
    metavar="S",
    help="On a cluster: stop following after S seconds and exit 1; the run continues.",
)
@click.option(
    "--wait-for-api",
    type=Number(min=0),
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
        require_none_of_a_run_here(options.place)
    if options.place != "local" and options.task != "sft":
        raise RunError(f"--task {options.task} needs a local run; --on {options.place} trains on text")
    if options.place in ("trainjob", "jobset"):
        return run_on_engine(options)
    options.engine.require_none("--on trainjob or jobset")
    if options.place == "cluster":
        if options.shard_group is not None:
            raise RunError("--shard-group is incompatible with --on cluster: Kaito's image runs whole copies (ddp)")
        return run_on_kaito(options)
    if options.report is not None:
        raise RunError("--report needs --on cluster; a local run writes report.json into its output folder")
    if options.resume and options.overwrite:
        raise RunError("--resume and --overwrite are mutually exclusive")
    checked = checked_plan(options.path, options.assumptions.overrides, options.request, options.settings)
    for warning in checked.warnings:
        complain(f"{warning.path}:{warning.line}:{warning.column}: {warning.code} warning: {warning.message}")
    made = checked.plan
    if options.dry_run:
        for note in checked.notes:
            complain(f"note: {note}")
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
