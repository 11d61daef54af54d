"""`kaitoc estimate`: the GPU memory of a fine-tune, from a manifest or from options."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kaitoc.compiler.api.estimating import Estimate, Subject, predict
from kaitoc.compiler.api.solving import solve_gpus, solve_size
from kaitoc.compiler.cli.completion import complete_path, complete_stack
from kaitoc.compiler.cli.console import complain, say, show_progress
from kaitoc.compiler.cli.estimate_options import EstimateOptions
from kaitoc.compiler.cli.estimate_rows import RowOptions, row_options
from kaitoc.compiler.cli.estimate_serving import SOLVABLE, ServingOptions, estimate_servers, serving_options
from kaitoc.compiler.cli.estimate_subjects import note_unsharded, subjects
from kaitoc.compiler.cli.estimate_sweep import plot, sweep_points
from kaitoc.compiler.cli.estimate_training import (
    TrainingOptions,
    dora_option,
    method_option,
    modules_to_save_option,
    step_options,
)
from kaitoc.compiler.cli.option_records import first_given
from kaitoc.compiler.cli.options import (
    gpu_memory_option,
    gpu_option,
    kaito_version_option,
    margin_option,
    model_option,
    price_option,
    sharing_options,
    takes,
    target_option,
)
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.estimate import TASKS, EstimateError, levers
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.solve import SolvedSize

EXIT_DOES_NOT_FIT = 1
_SERVE = "serve"
_GPUS = "gpus"
_SIZES = tuple(size.value for size in SolvedSize)


@click.command()
@click.argument("paths", nargs=-1, shell_complete=complete_path)
@model_option
@click.option(
    "--model-config",
    metavar="FILE",
    shell_complete=complete_path,
    help="The config.json of a model that is not in the catalog.",
)
@method_option
@click.option(
    "--task",
    type=click.Choice([*TASKS, _SERVE]),
    default="sft",
    show_default=True,
    help="Learn text, prefer `chosen` over `rejected` answers, as `kaitoc run --task dpo` does, or serve with vLLM.",
)
@step_options
@sharing_options
@click.option(
    "--stack",
    metavar="S",
    shell_complete=complete_stack,
    help="Software: kaito-v0.12, transformers-5, trl-chunked, ...",
)
@kaito_version_option
@target_option
@gpu_option
@gpu_memory_option
@margin_option
@dora_option
@modules_to_save_option
@row_options
@click.option("--phase", is_flag=True, help="Show the peak of every phase.")
@click.option("--trace", "use_trace", is_flag=True, help="Run the real model code on meta tensors (needs torch).")
@click.option("--sweep", metavar="WHAT=A:B", help="Sweep seq-len, batch or rank, such as seq-len=512:8192.")
@click.option(
    "--solve",
    type=click.Choice([*_SIZES, *SOLVABLE]),
    help="Find the largest size that certainly fits, or the fewest GPUs, of --gpu or of any instance type; exit 1 if "
    "none does. For a server: the longest context, the most concurrent requests, the fewest GPUs, or instance types "
    "that fit.",
)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Show the time of an epoch of N samples.")
@price_option
@click.option("--plot", metavar="FILE", shell_complete=complete_path, help="Plot the sweep as FILE.svg, .png or .html.")
@click.option("--strict", is_flag=True, help="Exit 1 on a tight fit too.")
@click.option("--format", "-f", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
@serving_options
@takes(EstimateOptions, training=TrainingOptions, rows=RowOptions, serving=ServingOptions)
def estimate(options: EstimateOptions) -> int:
    """Predict the GPU memory of a fine-tune or a server, of manifests in PATHS or of what the options describe.

    With --task serve, the memory of vLLM: what is left for the KV cache, the largest context, how many requests are
    served at once. Exits 1 when it does not fit the GPU, with --strict also when it fits only if the estimate errs on
    the high side.
    """
    if options.task == _SERVE:
        return estimate_servers(options.servers())
    option = first_given(options.serving, ServingOptions())
    if option is not None or options.solve not in (None, _GPUS, *_SIZES):
        raise EstimateError(f"{option or f'--solve {options.solve}'} describes a server; add --task serve")
    codes = []
    show_progress()
    for number, subject in enumerate(subjects(options)):
        if number and options.format_name == "text":
            click.echo("")
        codes.append(_answer(subject, options))
    return max(codes)


def _answer(subject: Subject, options: EstimateOptions) -> int:
    """Print the estimate of one fine-tune and return the exit code."""
    if options.solve is not None:
        if subject.lengths is not None:
            complain("note: --solve looks at the longest batch; lengths that vary are not replayed")
        return _answer_solved(replace(subject, lengths=None), options)
    points = sweep_points(subject, options.sweep) if options.sweep else []
    estimated = predict(subject, num_samples=options.samples, use_trace=options.use_trace)
    if subject.lengths is not None and estimated.variation is None:
        complain("note: lengths that vary are not replayed for a run that is sharded, traced or on pairs")
    note_unsharded(estimated, options)
    if options.plot:
        if not options.sweep:
            raise EstimateError("--plot draws a sweep; add --sweep, such as --sweep seq-len=512:8192")
        plot(subject, points, options.sweep, options.plot)
    if options.format_name == "json":
        click.echo(estimated.to_json(), nl=False)
    else:
        _print_text(estimated, points, options)
    is_tight = estimated.verdict is Verdict.TIGHT
    return EXIT_DOES_NOT_FIT if not estimated.ok or (options.strict and is_tight) else 0


def _answer_solved(subject: Subject, options: EstimateOptions) -> int:
    """Print the estimate of what was solved for, and return the exit code."""
    solve = options.solve
    if options.sweep or options.use_trace or options.samples:
        raise EstimateError(f"--solve {solve} is incompatible with --sweep, --trace and --samples")
    solution = solve_size(subject, SolvedSize(solve)) if solve in _SIZES else solve_gpus(subject, options.gpu)
    if options.format_name == "json":
        click.echo(solution.estimate.to_json(), nl=False)
    else:
        say(f"{solution.estimate}\n\n{solution.words}")
    return 0 if solution.fits else EXIT_DOES_NOT_FIT


def _print_text(estimated: Estimate, points: Sequence[tuple[int, Footprint]], options: EstimateOptions) -> None:
    from kaitoc.compiler.report.estimate import text as tables  # JSON needs no tables

    subject, footprint = estimated.subject, estimated.footprint
    workload, gpu, margin = subject.workload, subject.gpu, subject.margin
    blocks = [tables.headline(workload, gpu, footprint), tables.footprint_table(footprint, gpu, margin)]
    if estimated.variation is not None:
        blocks.append(tables.variation_table(estimated.variation, footprint, gpu))
    if options.phase:
        blocks.append(tables.phase_table(footprint))
    if estimated.epoch is not None:
        blocks.append(tables.epoch_line(estimated.epoch))
    if options.sweep:
        blocks.append(tables.sweep_table(options.sweep.partition("=")[0], points, gpu, margin))
    blocks.append(tables.levers_table(levers(workload, gpu, footprint)))
    say("\n\n".join(blocks))
