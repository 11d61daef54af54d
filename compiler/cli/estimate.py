"""`kaitoc estimate`: the GPU memory of a fine-tune, from a manifest or from options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from kaitoc.compiler.api.estimating import Estimate, Subject, architecture, predict, subject_of, subjects_in
from kaitoc.compiler.api.solving import solve_gpus
from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.check.inputs import Inputs
from kaitoc.compiler.cli.completion import complete_path, complete_stack
from kaitoc.compiler.cli.estimate_serving import (
    SOLVABLE,
    ServingOptions,
    ServingRequest,
    estimate_servers,
    serving_options,
)
from kaitoc.compiler.cli.estimate_sweep import plot, sweep_points
from kaitoc.compiler.cli.option_records import SharingOptions
from kaitoc.compiler.cli.options import (
    gpu_memory_option,
    gpu_option,
    kaito_version_option,
    margin_option,
    model_option,
    sharing_options,
    takes,
    target_option,
)
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.source import Source
from kaitoc.compiler.job.assumptions import Overrides, resolve_assumptions
from kaitoc.compiler.job.settings import Settings
from kaitoc.compiler.memory.batches import (
    NUM_BATCHES,
    Batching,
    Lengths,
    assumed_lengths,
    measured_lengths,
    parse_lengths,
)
from kaitoc.compiler.memory.data_lengths import longest_row_tokens, row_tokens
from kaitoc.compiler.memory.estimate import (
    DEFAULT_SEQ_LEN_TOKENS,
    NO_AUTOCAST,
    TASKS,
    EstimateError,
    FineTune,
    has_closed_form,
    levers,
    unmatched_targets,
)
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.sharing import image_note
from kaitoc.compiler.memory.stacks import BUNDLED, find_stack
from kaitoc.compiler.memory.workload import Attention, Dtype, Loss, Optimizer, Quantization

EXIT_DOES_NOT_FIT = 1
_SERVE = "serve"
_DTYPES = click.Choice([dtype.value for dtype in Dtype])


@dataclass(frozen=True, slots=True)
class EstimateOptions:
    """The command line of `kaitoc estimate`; None leaves it to the method or to the stack."""

    paths: tuple[str, ...]
    model: str | None
    model_config: str | None
    method: str | None
    task: str
    batch: int | None
    accumulation: int | None
    seq_len: int | None
    rank: int | None
    targets: str | None
    dropout: float | None
    dtype: str | None
    autocast: str | None
    checkpointing: bool | None
    attention: str | None
    loss: str | None
    optimizer: str | None
    quantization: str | None
    double_quant: bool | None
    kbit_prep: bool | None
    adapter_dtype: str | None
    allocator: str | None
    padding: bool | None
    sharing: SharingOptions
    stack: str | None
    kaito_version: str | None
    target: str | None
    gpu: str | None
    gpu_memory: float | None
    margin: float | None
    dora: bool
    modules_to_save: str | None
    data: str | None
    lengths: str | None
    batching: str | None
    holds_outputs: bool
    phase: bool
    use_trace: bool
    sweep: str | None
    solve: str | None
    plot: str | None
    format_name: str
    strict: bool
    serving: ServingOptions

    @property
    def overrides(self) -> Overrides:
        """Return what holds for manifests; raises `DataLengthError` for data without a length."""
        stated = Overrides(
            model=self.model,
            gpu=self.gpu,
            gpu_memory_gib=self.gpu_memory,
            kaito_version=self.kaito_version,
            target=self.target,
            seq_len_tokens=self._seq_len_tokens(),
            margin_percent=self.margin,
        )
        return self.sharing.over(stated)

    def fine_tune(self, model: Architecture) -> FineTune:
        """Return what is described without a manifest; raises `AssumptionError` and `DataLengthError`."""
        given: dict[str, Any] = {
            "method": self.method,
            "batch_size": self.batch,
            "seq_len_tokens": self._seq_len_tokens(),
            "rank": self.rank,
            "targets": _names(self.targets),
            "modules_to_save": _names(self.modules_to_save),
            "dropout": self.dropout,
            "dtype": self.dtype,
            "autocast": self.autocast,
            "adapter_dtype": self.adapter_dtype,
            "gradient_checkpointing": self.checkpointing,
            "attention": self.attention,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "quantization": self.quantization,
            "double_quant": self.double_quant,
            "kbit_prep": self.kbit_prep,
            "allocator": self.allocator,
            "num_gpus": self.sharing.gpus,
            "is_padded": self.padding,
            "accumulation_steps": self.accumulation,
            "batching": self.batching,
            "holds_outputs": self.holds_outputs or None,
            "sharing": self.sharing.request,
        }
        chosen = FineTune(model, self._stack_name(), dora=self.dora, task=self.task)
        return replace(chosen, **{name: value for name, value in given.items() if value is not None})

    def _stack_name(self) -> str:
        if (self.target == "bundled" or self.task != "sft") and not self.stack:
            return BUNDLED
        if self.stack or self.kaito_version is None:
            return self.stack or ""
        return f"kaito-{resolve_assumptions(Overrides(kaito_version=self.kaito_version), Settings()).release.name}"

    def _seq_len_tokens(self) -> int | None:
        if self.data is not None and self.batching != Batching.PACKED.value:
            return min(longest_row_tokens(self.data), self.seq_len or DEFAULT_SEQ_LEN_TOKENS)
        if self.lengths is not None and self.seq_len is None and not self.paths:
            return parse_lengths(self.lengths)[2]
        return self.seq_len

    def varied(self, subject: Subject) -> tuple[Subject, Lengths | None]:
        """Return a fine-tune with the longest batch of the lengths that are stated, and these; raises `LengthsError`.

        Packed rows are as long as the cap, however long the rows in them are.
        """
        workload = subject.workload
        if self.data is not None:
            return subject, measured_lengths(row_tokens(self.data), workload.seq_len_tokens)
        if self.lengths is None:
            return subject, None
        num_rows = NUM_BATCHES * workload.batch_size
        lengths = assumed_lengths(*parse_lengths(self.lengths), workload.seq_len_tokens, num_rows)
        if subject.loading.batching is Batching.PACKED:
            return subject, lengths
        return replace(subject, workload=replace(workload, seq_len_tokens=lengths.longest)), lengths


@click.command()
@click.argument("paths", nargs=-1, shell_complete=complete_path)
@model_option
@click.option(
    "--model-config",
    metavar="FILE",
    shell_complete=complete_path,
    help="The config.json of a model that is not in the catalog.",
)
@click.option("--method", type=click.Choice(["lora", "qlora", "full"]), help="How to train (default: lora).")
@click.option(
    "--task",
    type=click.Choice([*TASKS, _SERVE]),
    default="sft",
    show_default=True,
    help="Learn text, prefer `chosen` over `rejected` answers, as `kaitoc run --task dpo` does, or serve with vLLM.",
)
@click.option("--batch", type=int, metavar="N", help="Sequences, or pairs of them, per GPU and step (default: 1).")
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
@click.option("--dora", is_flag=True, help="DoRA adapters.")
@click.option("--modules-to-save", metavar="M", help="Modules trained in full beside the adapters.")
@click.option("--data", metavar="P", help="Take the lengths of the rows from this data, estimated from their text.")
@click.option("--lengths", metavar="P50,P90,MAX", help="Assume these lengths of the rows, in tokens.")
@click.option(
    "--batching",
    type=click.Choice([one.value for one in Batching]),
    help="How rows come together in a batch: at random, with rows of similar length (group_by_length), or packed.",
)
@click.option("--holds-outputs", is_flag=True, help="The training loop holds a step's outputs through the next one.")
@click.option("--phase", is_flag=True, help="Show the peak of every phase.")
@click.option("--trace", "use_trace", is_flag=True, help="Run the real model code on meta tensors (needs torch).")
@click.option("--sweep", metavar="WHAT=A:B", help="Sweep seq-len, batch or rank, such as seq-len=512:8192.")
@click.option(
    "--solve",
    type=click.Choice(SOLVABLE),
    help="Find the smallest number of GPUs that fits, of --gpu or of all instance types; exit 1 when none does. "
    "Server: also the largest context, the requests at once, or the instance types that fit.",
)
@click.option("--plot", metavar="FILE", shell_complete=complete_path, help="Plot the sweep as FILE.svg, .png or .html.")
@click.option("--strict", is_flag=True, help="Exit 1 for a tight fit too.")
@click.option("--format", "-f", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
@serving_options
@takes(EstimateOptions, serving=ServingOptions)  # fmt: skip
def estimate(options: EstimateOptions) -> int:
    """Predict the GPU memory of a fine-tune or a server, of manifests in PATHS or of what the options describe.

    With --task serve, the memory of vLLM: what is left for the KV cache, the largest context, how many requests are
    served at once. Exits 1 when it does not fit the GPU, with --strict also when it fits only if the estimate errs on
    the high side.
    """
    if options.task == _SERVE:
        return estimate_servers(_request(options))
    if options.serving.is_used or options.solve not in (None, "gpus"):
        raise EstimateError("options of a server need --task serve")
    if options.data is not None and options.lengths is not None:
        raise EstimateError("--lengths assumes what --data measures; pass one of them")
    codes = []
    for number, subject in enumerate(_subjects(options)):
        if number and options.format_name == "text":
            click.echo("")
        codes.append(_answer(subject, options))
    return max(codes)


def _request(options: EstimateOptions) -> ServingRequest:
    """Return what is asked of servers; raises `EstimateError` for options of a fine-tune."""
    tuned = (options.method, options.batch, options.accumulation, options.seq_len, options.rank, options.targets,
             options.dropout, options.dtype, options.autocast, options.checkpointing, options.attention, options.loss,
             options.optimizer, options.quantization, options.double_quant, options.kbit_prep, options.adapter_dtype,
             options.allocator, options.padding, options.stack, options.modules_to_save, options.data, options.sweep,
             options.plot, options.lengths)  # fmt: skip
    shares = options.sharing != SharingOptions(gpus=options.sharing.gpus)
    if any(value is not None for value in tuned) or options.use_trace or options.phase or options.dora or shares:
        raise EstimateError("options of a fine-tune do not apply to --task serve")
    return ServingRequest(
        options.paths, options.model, options.model_config, options.sharing.gpus, options.overrides, options.serving,
        options.solve, options.format_name, options.strict,
    )  # fmt: skip


def _subjects(options: EstimateOptions) -> Iterator[Subject]:
    if options.paths:
        for subject in subjects_in(Inputs(options.paths), options.overrides, options.task):
            _note_sharding(subject, options)
            yield subject
        return
    subject = subject_of(options.fine_tune(_model(options)), options.overrides)
    _note_sharding(subject, options)
    for name in unmatched_targets(subject.workload):
        click.echo(f"kaitoc: note: {subject.workload.architecture.name} has no layer `{name}`", err=True)
    yield subject


def _note_sharding(subject: Subject, options: EstimateOptions) -> None:
    """Say when the stack's software cannot do what is asked for and estimated all the same."""
    note = image_note(options.sharing.request, find_stack(subject.workload.stack))
    if note:
        click.echo(f"kaitoc: note: {note}", err=True)
    gpu = subject.gpu
    if subject.workload.num_gpus > 1 and (gpu is None or not gpu.model):
        links = "NVLink" if gpu is None or gpu.nvlink else "PCIe"
        click.echo(f"kaitoc: note: what links the GPUs is not known; {links} is assumed for NCCL's buffers", err=True)


def _answer(subject: Subject, options: EstimateOptions) -> int:
    """Print the estimate of one fine-tune and return the exit code."""
    subject, lengths = options.varied(subject)
    if options.solve is not None:
        return _answer_solved(subject, options)
    points = sweep_points(subject, options.sweep) if options.sweep else []
    estimated = predict(subject, lengths=lengths, use_trace=options.use_trace)
    if lengths is not None and estimated.variation is None:
        click.echo(
            "kaitoc: note: lengths that vary are not replayed for a run that is sharded, traced or on pairs", err=True
        )
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
    """Print the estimate on the fewest GPUs that fit, or that none do, and return the exit code."""
    if options.sweep or options.use_trace:
        raise EstimateError("--solve gpus is incompatible with --sweep and --trace")
    solution = solve_gpus(subject, options.gpu)
    if options.format_name == "json":
        click.echo(solution.estimate.to_json(), nl=False)
    else:
        click.echo(str(solution.estimate))
        click.echo(f"\n{solution.words}")
    return 0 if solution.placement is not None else EXIT_DOES_NOT_FIT


def _print_text(estimated: Estimate, points: Sequence[tuple[int, Footprint]], options: EstimateOptions) -> None:
    from kaitoc.compiler.report.estimate import text as tables  # JSON needs no tables

    subject, footprint = estimated.subject, estimated.footprint
    workload, gpu, margin = subject.workload, subject.gpu, subject.margin
    blocks = [tables.headline(workload, gpu, footprint), tables.footprint_table(footprint, gpu, margin)]
    if estimated.variation is not None:
        blocks.append(tables.variation_table(estimated.variation, footprint, gpu))
    if options.phase:
        blocks.append(tables.phase_table(footprint))
    if options.sweep:
        blocks.append(tables.sweep_table(options.sweep.partition("=")[0], points, gpu, margin))
    blocks.append(tables.levers_table(levers(workload, gpu, footprint)))
    click.echo("\n\n".join(blocks))


def _model(options: EstimateOptions) -> Architecture:
    path = options.model_config
    if path is None:
        if options.model is None:
            raise EstimateError("name a model with --model or --model-config, or pass a manifest")
        return architecture(options.model)
    try:
        config = json.loads(Source.read(path).text)
    except (ValueError, RecursionError) as error:
        raise EstimateError(f"{path}: not a JSON file: {error}", path=path) from error
    if not isinstance(config, dict):
        raise EstimateError(f"{path}: not a model's config.json", path=path)
    model = architecture(options.model or path, config)
    if not has_closed_form(model):
        click.echo(f"kaitoc: note: no closed form for `{model.model_type}`: its code is traced", err=True)
    return model


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None
