"""Builds workloads from what a user says of a fine-tune and finds what would lower the peak most."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import known_model_types
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.linear_modules import match_targets
from kaitoc.compiler.catalog.releases import newest_release
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.batches import Batching, Loading
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.sharing import SHARDING_WORDS, SharingRequest, can_shard, sharded, sharding_for
from kaitoc.compiler.memory.stacks import BUNDLED, KAITO_PREFIX, Stack, find_stack
from kaitoc.compiler.memory.weight_storage import DEFAULT_GROUP_SIZE, WeightStorage, stored_weights
from kaitoc.compiler.memory.workload import (
    NEWEST_LIGER,
    Allocator,
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Reference,
    Workload,
    WorkloadError,
)

DEFAULT_SEQ_LEN_TOKENS = 1024
TASKS = ("sft", "dpo")
METHODS = ("lora", "qlora", "full")
NO_AUTOCAST = "none"


_DTYPES = tuple(dtype.value for dtype in Dtype)
_WORDS = {
    "method": METHODS,
    "task": TASKS,
    "dtype": _DTYPES,
    "autocast": (NO_AUTOCAST, *_DTYPES),
    "adapter_dtype": _DTYPES,
    "attention": tuple(one.value for one in Attention),
    "loss": tuple(one.value for one in Loss),
    "optimizer": tuple(one.value for one in Optimizer),
    "quantization": tuple(one.value for one in Quantization),
    "allocator": tuple(one.value for one in Allocator),
    "batching": tuple(one.value for one in Batching),
}
"""What the fields of a description may be, by name."""


class EstimateError(KaitocError, ValueError):
    """An estimate that cannot be made as asked; `str(error)` is for the user."""


@dataclass(frozen=True, slots=True)
class FineTune:
    """What is to be priced without a manifest; None leaves it to the method or to the stack.

    `stack` names the software, that of the newest Kaito release when it is empty. With `task` "dpo", direct preference
    optimization on the bundled runtime, `batch_size` counts pairs, whose two rows differ in length. `runs_bundled`: so
    does text, with what that runtime sets for itself.
    """

    architecture: Architecture
    stack: str = ""
    method: str = "lora"
    task: str = "sft"
    batch_size: int = 1
    seq_len_tokens: int = DEFAULT_SEQ_LEN_TOKENS
    rank: int = 8
    targets: tuple[str, ...] = ("all-linear",)
    modules_to_save: tuple[str, ...] = ()
    dora: bool = False
    dropout: float = 0.0
    dtype: str = "bfloat16"
    autocast: str | None = None
    adapter_dtype: str | None = None
    gradient_checkpointing: bool | None = None
    attention: str = "sdpa"
    loss: str | None = None
    liger_version: str = NEWEST_LIGER
    optimizer: str | None = None
    steps_in_backward: bool = False
    offloads_activations: bool = False
    quantization: str | None = None
    group_size: int | None = None
    double_quant: bool = False
    kbit_prep: bool | None = None
    allocator: str | None = None
    num_gpus: int | None = None
    is_padded: bool | None = None
    accumulation_steps: int = 1
    batching: str = "random"
    holds_outputs: bool = False
    sharing: SharingRequest = SharingRequest()
    runs_bundled: bool = False

    @property
    def loading(self) -> Loading:
        """Resolve how rows become batches: packing, grouping and accumulation."""
        return Loading(Batching(self.batching), self.accumulation_steps)


def workload_from(options: FineTune) -> Workload:
    """Return the workload that options describe; raises `WorkloadError` for an unknown stack.

    QLoRA means nf4 unless said otherwise, and what PEFT's `prepare_model_for_kbit_training` does, which turns
    checkpointing on. Kaito sets `expandable_segments:True` and empties PyTorch's cache after every step. The bundled
    runtime sets it too, and reduces the gradients of matrices that are trained whole after every batch, as plans do
    (`workload_of_plan`).
    """
    _require_words(options)
    _require_numbers(options)
    stack, reference = _stack(options), _reference(options)
    is_kaito = stack.name.startswith(KAITO_PREFIX)
    storage = _storage(options)
    quantization = storage.quantization
    kbit_prep = options.method == "qlora" if options.kbit_prep is None else options.kbit_prep
    checkpointing = options.gradient_checkpointing
    if checkpointing is None:
        is_prepared = kbit_prep and quantization not in (Quantization.NONE, Quantization.AWQ)
        checkpointing = stack.default_checkpointing or is_prepared
    is_bundled = options.runs_bundled or options.task != "sft"
    default_allocator = Allocator.EXPANDABLE if is_kaito or is_bundled else Allocator.DEFAULT
    trains_matrices = options.method == "full" or bool(options.modules_to_save)
    sharding = replace(sharding_for(options.sharing, stack), sync_each_batch=is_bundled and trains_matrices)
    dtype = Dtype(options.dtype)
    default_loss = stack.default_loss if reference is Reference.NONE else Loss.FUSED
    workload = Workload(
        architecture=options.architecture,
        lora=None if options.method == "full" else _lora(options),
        batch_size=options.batch_size,
        seq_len_tokens=options.seq_len_tokens,
        stack=stack.name,
        quantization=quantization,
        double_quant=storage.double_quant,
        group_size=storage.group_size,
        kbit_prep=kbit_prep and quantization is not Quantization.NONE,
        dtype=dtype,
        autocast=_autocast(options, stack, quantization),
        gradient_checkpointing=checkpointing,
        attention=Attention(options.attention),
        loss=Loss(options.loss) if options.loss is not None else default_loss,
        optimizer=Optimizer(options.optimizer) if options.optimizer is not None else stack.default_optimizer,
        allocator=Allocator(options.allocator) if options.allocator is not None else default_allocator,
        num_gpus=1 if options.num_gpus is None else options.num_gpus,
        empty_cache_each_step=is_kaito,
        is_padded=reference is not Reference.NONE if options.is_padded is None else options.is_padded,
        accumulates=options.accumulation_steps > 1,
        holds_outputs=options.holds_outputs,
        sharding=sharding,
        reference=reference,
        liger_version=options.liger_version,
        steps_in_backward=options.steps_in_backward,
        offloads_activations=options.offloads_activations and reference is Reference.NONE and not sharding.is_sharded,
    )
    _require_effect(options, workload)
    return replace(workload, batch_size=options.batch_size * workload.rows_per_example)


def _require_words(options: FineTune) -> None:
    """Raise `EstimateError` for a word that no option takes, by the name of the field."""
    stated = [(name, getattr(options, name), words) for name, words in _WORDS.items()]
    for name, value, words in [*stated, ("sharing", options.sharing.word, SHARDING_WORDS)]:
        if value is not None and value not in words:
            raise EstimateError(f"{name}: `{value}` is not one of {', '.join(words)}")


def _require_numbers(options: FineTune) -> None:
    """Raise `EstimateError` for numbers that no step shows: batches of an update, rows of a group."""
    if options.accumulation_steps < 1:
        raise EstimateError(f"an update takes at least 1 batch, not {options.accumulation_steps}")
    size = options.group_size
    if size is not None and size != -1 and size < 1:
        raise EstimateError(f"a group has at least 1 row, or -1 for whole columns, not {size}")


def _require_effect(options: FineTune, workload: Workload) -> None:
    """Raise `EstimateError` for what is stated of a loss or of weights that the run does not have."""
    quantization = workload.quantization
    if options.liger_version != NEWEST_LIGER and workload.loss is not Loss.LIGER:
        raise EstimateError("--liger-version needs --loss liger")
    if options.group_size is not None and not quantization.is_packed:
        raise EstimateError("--group-size needs --quantization gptq or awq")
    if options.double_quant and quantization not in (Quantization.NF4, Quantization.FP4):
        raise EstimateError("--double-quant needs 4-bit weights of bitsandbytes: --quantization nf4 or fp4")
    if options.kbit_prep and quantization is Quantization.NONE:
        raise EstimateError("--kbit-prep needs quantized weights: --method qlora, or --quantization")


def _stack(options: FineTune) -> Stack:
    """Return the software that is named, else what runs the task."""
    if options.task == "sft":
        return find_stack(options.stack or f"{KAITO_PREFIX}{newest_release().name}")
    if options.stack not in ("", BUNDLED):
        raise EstimateError(f"task dpo is estimated for the bundled runtime, --stack {BUNDLED}")
    return find_stack(BUNDLED)


def _storage(options: FineTune) -> WeightStorage:
    """Resolve how the weights are stored: as the checkpoint holds them, else as asked, or in nf4 for QLoRA.

    Raises `EstimateError` for other weights than the checkpoint's, which transformers refuses to make of them
    (`AutoHfQuantizer.merge_quantization_configs`).
    """
    asked = options.quantization
    stored = stored_weights(options.architecture) if asked != Quantization.NONE.value else None
    if stored is not None and asked not in (None, stored.quantization.value):
        name, held = options.architecture.name, stored.quantization.value
        raise EstimateError(
            f"{name} holds {held} weights, which cannot be loaded as {asked}; leave out --quantization, or use "
            "--quantization none for a checkpoint without quantization"
        )
    default = Quantization.NF4 if options.method == "qlora" else Quantization.NONE
    kind = Quantization(asked) if asked is not None else default
    if stored is None:
        stored = WeightStorage(kind, options.double_quant, DEFAULT_GROUP_SIZE if kind.is_packed else 0)
    return stored if options.group_size is None else replace(stored, group_size=max(options.group_size, 0))


def _reference(options: FineTune) -> Reference:
    if options.task == "sft":
        return Reference.NONE
    return Reference.COPY if options.method == "full" else Reference.BASE


def _autocast(options: FineTune, stack: Stack, quantization: Quantization) -> Dtype | None:
    """Return the type of mixed precision: as asked, else the weights' half type where the stack turns it on.

    It leaves float64 alone.
    """
    if options.dtype == Dtype.FLOAT64.value:
        return None
    if options.autocast is not None:
        return Dtype(options.autocast) if options.autocast != NO_AUTOCAST else None
    is_quantized = quantization is not Quantization.NONE
    if stack.default_autocast == "never" or (stack.default_autocast == "when quantized" and not is_quantized):
        return None
    return Dtype.FLOAT16 if options.dtype == Dtype.FLOAT16.value else Dtype.BFLOAT16


def _lora(options: FineTune) -> Lora:
    return Lora(
        rank=options.rank,
        alpha=float(options.rank),
        dropout=options.dropout,
        targets=options.targets,
        dora=options.dora,
        modules_to_save=options.modules_to_save,
        dtype=Dtype(options.adapter_dtype) if options.adapter_dtype is not None else None,
    )


def has_closed_form(architecture: Architecture) -> bool:
    """Return whether the closed form covers a model; else only the trace tells its memory."""
    return architecture.model_type in known_model_types()


def unmatched_targets(workload: Workload) -> tuple[str, ...]:
    """Return the target modules that reach no layer of the model, none where its layers are not known."""
    if workload.lora is None or not has_closed_form(workload.architecture):
        return ()
    fused = find_stack(workload.stack).fused_experts
    return match_targets(workload.architecture, workload.lora.targets, fused_experts=fused).unmatched


@dataclass(frozen=True, slots=True)
class Lever:
    """A change that lowers what the device must hold, by `saved_bytes`; `words` name it."""

    words: str
    saved_bytes: int


def levers(workload: Workload, gpu: Gpu | None, current: Footprint) -> list[Lever]:
    """Return the single changes that lower the device total by 1 % or more, the strongest first.

    None are told of a model without closed form, which would have to be traced with each.
    """
    if not has_closed_form(workload.architecture):
        return []
    changes = []
    for words, candidate in _candidates(workload):
        try:
            saved = current.device_bytes - footprint(candidate, gpu).device_bytes
        except WorkloadError:
            continue
        if saved * 100 >= current.device_bytes:
            changes.append(Lever(words, saved))
    return sorted(changes, key=lambda lever: -lever.saved_bytes)


def _candidates(workload: Workload) -> Iterator[tuple[str, Workload]]:
    if not workload.gradient_checkpointing:
        yield "gradient checkpointing", replace(workload, gradient_checkpointing=True)
    if workload.attention is Attention.EAGER:
        yield "fused attention (sdpa)", replace(workload, attention=Attention.SDPA)
    if workload.loss is Loss.FULL:
        yield "a chunked loss", replace(workload, loss=Loss.CHUNKED)
    if workload.holds_outputs:
        yield "outputs dropped before the next step (`del outputs`)", replace(workload, holds_outputs=False)
    rows = workload.rows_per_example
    if workload.batch_size > rows:
        is_padded = workload.is_padded and rows > 1
        yield "batch 1 with accumulation", replace(workload, batch_size=rows, accumulates=True, is_padded=is_padded)
    if workload.lora is not None and workload.quantization is Quantization.NONE:
        quantized = replace(workload, quantization=Quantization.NF4, double_quant=True, kbit_prep=True)
        yield "QLoRA (nf4, checkpointing)", replace(quantized, gradient_checkpointing=True)
    sharding = workload.sharding
    can_split = workload.reference is not Reference.COPY and can_shard(find_stack(workload.stack))
    if workload.num_gpus > 1 and not sharding.is_sharded and can_split:
        split = replace(workload, sharding=sharded(workload))
        yield f"shards instead of whole copies ({split.sharding.kind.value})", split
    if sharding.is_sharded and workload.accumulates and not sharding.sync_each_batch:
        reduced = replace(sharding, sync_each_batch=True)
        yield "gradients reduced after every batch (sync_each_batch)", replace(workload, sharding=reduced)
    if workload.lora is None:
        reference = Reference.BASE if workload.reference is Reference.COPY else workload.reference
        yield "LoRA of rank 8 instead of full fine-tuning", replace(workload, lora=Lora(), reference=reference)
    if workload.optimizer in (Optimizer.ADAMW, Optimizer.ADAMW_FUSED):
        yield "an 8-bit optimizer", replace(workload, optimizer=Optimizer.ADAMW_8BIT)
    if workload.dtype in (Dtype.FLOAT32, Dtype.FLOAT64):
        yield "bfloat16 weights", replace(workload, dtype=Dtype.BFLOAT16)
