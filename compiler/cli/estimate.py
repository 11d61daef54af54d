"""`kaitoc estimate`: the GPU memory of a fine-tune, from a manifest or from options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.gpus import Gpu, custom_gpu
from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.cli.completion import complete_gpu, complete_model, complete_path, complete_release, complete_stack
from kaitoc.compiler.cli.estimate_predictions import architecture_of, plot, predict, sweep_points
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.job.assumptions import AssumptionError, Overrides, gpu_named, model_named, resolve_assumptions
from kaitoc.compiler.job.settings import Settings, SettingsError, SettingsFinder
from kaitoc.compiler.job.summary import JobSummary
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.estimate import (
    DEFAULT_SEQ_LEN_TOKENS,
    NO_AUTOCAST,
    EstimateError,
    Options,
    levers,
    unmatched_targets,
    workload_from,
)
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.workload import Attention, Dtype, Loss, Optimizer, Quantization, Workload, WorkloadError
from kaitoc.compiler.report.model import Report

EXIT_DOES_NOT_FIT = 1
EXIT_USAGE = 2
_DTYPES = click.Choice([dtype.value for dtype in Dtype])


@click.command()
@click.argument("paths", nargs=-1, shell_complete=complete_path)
@click.option(
    "--model", metavar="M", shell_complete=complete_model, help="Model: a Kaito preset, a hub id or a short name."
)
@click.option(
    "--model-config",
    metavar="FILE",
    shell_complete=complete_path,
    help="The config.json of a model that is not in the catalog.",
)
@click.option("--method", type=click.Choice(["lora", "qlora", "full"]), help="How to train (default: lora).")
@click.option("--batch", type=int, metavar="N", help="Sequences per GPU and step (default: 1).")
@click.option("--accumulation", type=click.IntRange(min=1), metavar="N", help="Batches per update (default: 1).")
@click.option("--seq-len", type=int, metavar="N", help="Tokens per sequence (default: 1024).")
@click.option("--rank", type=int, metavar="N", help="Rank of the adapters (default: 8).")
@click.option("--targets", metavar="A,B", help="Modules that get adapters (default: all-linear).")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), metavar="P", help="Adapters' (default: 0).")
@click.option("--dtype", type=_DTYPES, help="Type of the weights (default: bfloat16).")
@click.option(
    "--autocast",
    type=click.Choice([NO_AUTOCAST, Dtype.FLOAT16.value, Dtype.BFLOAT16.value]),
    help="Mixed precision, `fp16` or `bf16` of the Trainer (default: the stack's).",
)
@click.option("--checkpointing/--no-checkpointing", default=None, help="Gradient checkpointing (default: the stack's).")
@click.option("--attention", type=click.Choice([one.value for one in Attention]), help="Kernel (default: sdpa).")
@click.option("--loss", type=click.Choice([one.value for one in Loss]), help="Loss (default: the stack's).")
@click.option("--optimizer", type=click.Choice([one.value for one in Optimizer]), help="Default: the stack's.")
@click.option(
    "--quantization",
    type=click.Choice([one.value for one in Quantization]),
    help="Storage of the frozen weights (default: nf4 for qlora).",
)
@click.option("--double-quant/--no-double-quant", default=None, help="Quantise the 4-bit constants too.")
@click.option(
    "--kbit-prep/--no-kbit-prep", default=None, help="PEFT's prepare_model_for_kbit_training (default: with qlora)."
)
@click.option("--adapter-dtype", type=_DTYPES, help="Type of the adapters (default: the stack's).")
@click.option(
    "--allocator",
    type=click.Choice(["default", "expandable"]),
    help="PyTorch's allocator, without or with expandable segments (default: the stack's).",
)
@click.option(
    "--padding/--no-padding", default=None, help="Whether batches are padded, so that attention takes a mask."
)
@click.option("--gpus", type=int, metavar="N", help="GPUs under DDP, each with a whole copy (default: 1).")
@click.option(
    "--stack",
    metavar="S",
    shell_complete=complete_stack,
    help="Software: kaito-v0.12, transformers-5, trl-chunked, ...",
)
@click.option(
    "--kaito-version",
    metavar="V",
    shell_complete=complete_release,
    help="Kaito release, for manifests and as the default stack.",
)
@click.option("--gpu", metavar="G", shell_complete=complete_gpu, help="GPU or instance type to compare with.")
@click.option("--gpu-memory", type=click.FloatRange(min=1, max=4096), metavar="GIB", help="Memory of the GPU.")
@click.option("--margin", type=click.FloatRange(0, 90), default=5.0, metavar="PCT", help="Share to keep free.")
@click.option("--dora", is_flag=True, help="DoRA adapters.")
@click.option("--modules-to-save", metavar="M", help="Modules trained in full beside the adapters.")
@click.option("--data", metavar="P", help="Take the sequence length from this data (its longest row).")
@click.option("--phase", is_flag=True, help="Show the peak of every phase.")
@click.option("--trace", "use_trace", is_flag=True, help="Run the real model code on meta tensors (needs torch).")
@click.option("--sweep", metavar="WHAT=A:B", help="Sweep seq-len, batch or rank, such as seq-len=512:8192.")
@click.option("--plot", metavar="FILE", shell_complete=complete_path, help="Plot the sweep as FILE.svg, .png or .html.")
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context  # fmt: skip
def estimate(ctx: click.Context, /, paths: tuple[str, ...], **options: Any) -> None:
    """Predict the GPU memory of a fine-tune, of manifests in PATHS or of what the options describe.

    Exits 1 when it does not fit the GPU.
    """
    try:
        ctx.exit(_estimate_manifests(paths, options) if paths else _estimate_options(options))
    except (ArchitectureError, AssumptionError, EstimateError, SettingsError, SourceError, WorkloadError) as error:
        click.echo(f"kaitoc: {error}", err=True)
        ctx.exit(EXIT_USAGE)


def _estimate_options(values: dict[str, Any]) -> int:
    architecture = _architecture(values)
    stack = values["stack"] or f"kaito-{_release_name(values)}"
    given = {
        "method": values["method"],
        "batch_size": values["batch"],
        "seq_len_tokens": _seq_len(values),
        "rank": values["rank"],
        "targets": _names(values["targets"]),
        "modules_to_save": _names(values["modules_to_save"]),
        "dropout": values["dropout"],
        "dtype": values["dtype"],
        "autocast": values["autocast"],
        "adapter_dtype": values["adapter_dtype"],
        "gradient_checkpointing": values["checkpointing"],
        "attention": values["attention"],
        "loss": values["loss"],
        "optimizer": values["optimizer"],
        "quantization": values["quantization"],
        "double_quant": values["double_quant"],
        "kbit_prep": values["kbit_prep"],
        "allocator": values["allocator"],
        "num_gpus": values["gpus"],
        "is_padded": values["padding"],
        "accumulation_steps": values["accumulation"],
    }
    chosen = Options(architecture, stack, dora=values["dora"])
    workload = workload_from(replace(chosen, **{name: value for name, value in given.items() if value is not None}))
    for name in unmatched_targets(workload):
        click.echo(f"kaitoc: note: {architecture.name} has no layer `{name}`", err=True)
    return _answer(workload, _gpu(values), values, JobSummary(method=values["method"] or "lora"))


def _answer(workload: Workload, gpu: Gpu | None, values: dict[str, Any], summary: JobSummary) -> int:
    """Print the estimate of one workload and return the exit code."""
    margin = values["margin"] / 100
    points = sweep_points(workload, gpu, values["sweep"]) if values["sweep"] else []
    predicted = predict(workload, gpu, use_trace=values["use_trace"])
    if values["plot"]:
        if not points:
            raise EstimateError("--plot draws a sweep; add --sweep, such as --sweep seq-len=512:8192")
        plot(workload, gpu, points, values["sweep"], values["plot"])
    if values["format_name"] == "json":
        _print_json(workload, gpu, predicted, margin, summary)
    else:
        _print_text(workload, gpu, predicted, points, values)
    fits = gpu is None or verdict(predicted, gpu, margin) is not Verdict.DOES_NOT_FIT
    return 0 if fits else EXIT_DOES_NOT_FIT


def _print_text(
    workload: Workload, gpu: Gpu | None, predicted: Footprint, points: Sequence[tuple[int, Footprint]],
    values: dict[str, Any],
) -> None:  # fmt: skip
    from kaitoc.compiler.report.estimate import text as tables

    margin = values["margin"] / 100
    blocks = [tables.headline(workload, gpu), tables.footprint_table(predicted, gpu, margin)]
    if values["phase"]:
        blocks.append(tables.phase_table(predicted))
    if points:
        blocks.append(tables.sweep_table(values["sweep"].partition("=")[0], points, gpu, margin))
    blocks.append(tables.levers_table(levers(workload, gpu, predicted)))
    click.echo("\n\n".join(blocks))


def _print_json(workload: Workload, gpu: Gpu | None, predicted: Footprint, margin: float, summary: JobSummary) -> None:
    from kaitoc.compiler.report import render

    job = replace(
        summary,
        model=workload.architecture.name,
        gpu=gpu.name if gpu is not None else "",
        seq_len=workload.seq_len_tokens,
        batch=workload.batch_size,
        footprint=predicted,
        capacity_bytes=gpu.memory_bytes if gpu is not None else None,
        verdict=verdict(predicted, gpu, margin) if gpu is not None else None,
    )
    click.echo(render(Report(jobs=(job,)), "json"), nl=False)


def _estimate_manifests(paths: tuple[str, ...], values: dict[str, Any]) -> int:
    from kaitoc.compiler.check.engine import Engine, RuleSet, find_files
    from kaitoc.compiler.job.memory import summarize, workload_of

    overrides = Overrides(
        model=values["model"],
        gpu=values["gpu"],
        gpu_memory_gib=values["gpu_memory"],
        kaito_version=values["kaito_version"],
        seq_len_tokens=_seq_len(values),
        margin_percent=values["margin"],
    )
    engine = Engine(RuleSet((), ()), overrides, SettingsFinder())
    jobs = []
    for path in find_files(paths, engine.settings):
        engine.library.add_given(path)
        jobs += list(engine.jobs_of(engine.library.load(path)))
    if not jobs:
        raise EstimateError("no tuning Workspace or training config found in the given paths")
    codes = []
    for index, job in enumerate(jobs):
        workload = workload_of(job)
        if workload is None:
            name = job.manifest.ref.name
            raise EstimateError(
                f"{job.manifest.source.path}: the memory of `{name}` cannot be told; `kaitoc check` says what is "
                "wrong, and --model names the model of a ConfigMap without Workspace"
            )
        if index and values["format_name"] == "text":
            click.echo("")
        codes.append(_answer(workload, job.gpu.value if job.gpu is not None else None, values, summarize(job)))
    return max(codes)


def _architecture(values: dict[str, Any]) -> Architecture:
    if values["model_config"] is None:
        if values["model"] is None:
            raise EstimateError("name a model with --model or --model-config, or pass a manifest")
        return model_named(values["model"])
    path = values["model_config"]
    try:
        config = json.loads(Source.read(path).text)
    except (ValueError, RecursionError) as error:
        raise EstimateError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(config, dict):
        raise EstimateError(f"{path}: not a model's config.json")
    return architecture_of(values["model"] or path, config)


def _release_name(values: dict[str, Any]) -> str:
    if values["kaito_version"] is None:
        return newest_release().name
    return resolve_assumptions(Overrides(kaito_version=values["kaito_version"]), Settings()).release.name


def _gpu(values: dict[str, Any]) -> Gpu | None:
    if values["gpu"] is not None:
        return gpu_named(values["gpu"])
    return custom_gpu(values["gpu_memory"]) if values["gpu_memory"] is not None else None


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def _seq_len(values: dict[str, Any]) -> int | None:
    if values["data"] is None:
        found: int | None = values["seq_len"]
        return found
    from kaitoc.compiler.memory.data_lengths import DataLengthError, longest_row_tokens

    try:
        longest = longest_row_tokens(values["data"])
    except DataLengthError as error:
        raise EstimateError(str(error)) from error
    return min(longest, values["seq_len"] or DEFAULT_SEQ_LEN_TOKENS)
