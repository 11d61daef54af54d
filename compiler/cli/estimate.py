"""`kaitoc estimate`: the GPU memory of a fine-tune, from a manifest or from options."""

from __future__ import annotations

import click

from kaitoc.compiler.cli.completion import complete_path, complete_stack
from kaitoc.compiler.cli.console import say, show_progress
from kaitoc.compiler.cli.estimate_conflicts import GPUS, SIZES, require_effect, require_settings_apply
from kaitoc.compiler.cli.estimate_model import require_no_models
from kaitoc.compiler.cli.estimate_options import EstimateOptions
from kaitoc.compiler.cli.estimate_rows import RowOptions, row_options
from kaitoc.compiler.cli.estimate_serving import SOLVABLE, ServingOptions, estimate_servers, serving_options
from kaitoc.compiler.cli.estimate_subjects import note_effects, note_longest_alone, note_without_gpu, subjects
from kaitoc.compiler.cli.estimate_sweep import plot, sweep
from kaitoc.compiler.cli.estimate_training import (
    TrainingOptions,
    dora_option,
    method_option,
    modules_to_save_option,
    step_options,
)
from kaitoc.compiler.cli.option_records import first_given
from kaitoc.compiler.cli.option_types import Choice, Integer
from kaitoc.compiler.cli.options import (
    config_option,
    format_option,
    gpu_memory_option,
    gpu_option,
    isolated_option,
    kaito_version_option,
    margin_option,
    model_option,
    price_option,
    sharing_options,
    takes,
    target_option,
)
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.estimate import TASKS, EstimateError
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.solve import SolvedSize
from kaitoc.estimating import Estimate, Subject, predict
from kaitoc.sizing import solve_gpus, solve_size

EXIT_DOES_NOT_FIT = 1
_SERVE = "serve"


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
    type=Choice([*TASKS, _SERVE]),
    default="sft",
    show_default=True,
    help="Train on text (sft), or on `chosen` over `rejected` answers as `kaitoc run --task dpo`, or serve with vLLM.",
)
@step_options
@sharing_options
@click.option(
    "--stack",
    metavar="S",
    shell_complete=complete_stack,
    help="Software stack: kaito-v0.12, transformers-5, trl-chunked, ...",
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
    type=Choice([*SIZES, *SOLVABLE]),
    help="Find the largest size that certainly fits, or the fewest GPUs, of --gpu or of any instance type; exit 1 if "
    "none does. For a server: the longest context, the most concurrent requests, the fewest GPUs, or instance types "
    "that fit.",
)
@click.option("--samples", type=Integer(min=1), metavar="N", help="Show the time of an epoch of N samples.")
@price_option
@click.option("--plot", metavar="FILE", shell_complete=complete_path, help="Plot the sweep as FILE.svg, .png or .html.")
@click.option("--strict", is_flag=True, help="Exit 1 on a tight fit too.")
@format_option
@config_option
@isolated_option
@serving_options
@takes(EstimateOptions, training=TrainingOptions, rows=RowOptions, serving=ServingOptions)
def estimate(options: EstimateOptions) -> int:
    """Predict the GPU memory of a fine-tune or a server, of manifests in PATHS or of what the options describe.

    With --task serve, the memory of vLLM: what is left for the KV cache, the largest context, how many requests are
    served at once. Exits 1 when it does not fit the GPU, with --strict also when it fits only if the estimate errs on
    the high side.
    """
    require_no_models(options.paths)
    require_settings_apply(options)
    if options.task == _SERVE:
        return estimate_servers(options.servers())
    option = first_given(options.serving, ServingOptions())
    if option is not None or options.solve not in (None, GPUS, *SIZES):
        raise EstimateError(f"{option or f'--solve {options.solve}'} describes a server; add --task serve")
    require_effect(options)
    codes = []
    show_progress()
    for number, subject in enumerate(subjects(options)):
        if number and options.format_name == "text":
            click.echo("")
        codes.append(_answer(subject, options))
    return max(codes)


def _answer(subject: Subject, options: EstimateOptions) -> int:
    """Print the estimate of one fine-tune and return the exit code."""
    note_longest_alone(subject, options)
    if subject.gpu is None:
        note_without_gpu(options)
    if options.solve is not None:
        return _answer_solved(replace(subject, lengths=None), options, options.solve)
    swept = sweep(subject, options.sweep, use_trace=options.use_trace) if options.sweep else None
    estimated = predict(subject, num_samples=options.samples, use_trace=options.use_trace)
    note_effects(estimated, options)
    if swept is not None and options.plot:
        plot(subject, swept, options.plot)
    _print(replace(estimated, swept=swept), options)
    is_tight = estimated.verdict is Verdict.TIGHT
    return EXIT_DOES_NOT_FIT if not estimated.ok or (options.strict and is_tight) else 0


def _answer_solved(subject: Subject, options: EstimateOptions, solve: str) -> int:
    """Print the estimate of what was solved for, and return the exit code."""
    solution = solve_size(subject, SolvedSize(solve)) if solve in SIZES else solve_gpus(subject, options.gpu)
    note_effects(solution.estimate, options)
    _print(solution.estimate, options, solution.words)
    return 0 if solution.fits else EXIT_DOES_NOT_FIT


def _print(estimated: Estimate, options: EstimateOptions, answer: str = "") -> None:
    if options.format_name == "json":
        click.echo(estimated.to_json(), nl=False)
    else:
        say(estimated.text(phases=options.phase) + (f"\n\n{answer}" if answer else ""))
