"""From a job to the question for the memory engine, and its answer."""

from __future__ import annotations

from functools import lru_cache

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.catalog.linear_modules import match_targets
from kaitoc.compiler.catalog.releases import default_target_modules
from kaitoc.compiler.core.memo import Memo
from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.job.job import Assumptions, Job, Target
from kaitoc.compiler.job.optimizer import optimizer_name
from kaitoc.compiler.job.possible import missing_gpus
from kaitoc.compiler.job.run import memo_of_run
from kaitoc.compiler.memory.closed_form.footprint import footprint, verdict
from kaitoc.compiler.memory.closed_form.validation import with_activation_offload
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.sharding.model import Sharding
from kaitoc.compiler.memory.sharing import request_in, sharding_for
from kaitoc.compiler.memory.stacks import BUNDLED, KAITO_PREFIX, Stack, find_stack
from kaitoc.compiler.memory.workload import (
    OPTIMIZERS_BY_OPTIM,
    Allocator,
    Attention,
    Dtype,
    Lora,
    Loss,
    Quantization,
    Workload,
    WorkloadError,
)
from kaitoc.compiler.memory.workload_key import key_of_need
from kaitoc.compiler.yaml.placeholders import UnknownValueError

DEFAULT_CAP_TOKENS = 1024
"""What Kaito's runtimes cut sequences to by default: TRL 0.11 at min(tokenizer's limit, 1024), SFTConfig at 1024."""

_MOST_NAMES = 2000
"""More do not fit into a config that is read, written as paths of layers; workloads are remembered for long."""

_OFFLOAD = "activation_offloading"

_DTYPES = {"float32": Dtype.FLOAT32, "float": Dtype.FLOAT32, "float16": Dtype.FLOAT16, "half": Dtype.FLOAT16,
           "bfloat16": Dtype.BFLOAT16, "float64": Dtype.FLOAT64, "double": Dtype.FLOAT64}  # fmt: skip


def stack_of(job: Job) -> Stack:
    """Return the software stack that runs a job."""
    return stack_for(job.assumptions)


def stack_for(assumptions: Assumptions) -> Stack:
    """Return the software stack that runs what is judged under some assumptions."""
    is_bundled = assumptions.target is Target.BUNDLED
    return find_stack(BUNDLED if is_bundled else f"{KAITO_PREFIX}{assumptions.release.name}")


def quantization_of(job: Job) -> Quantization:
    """Resolve a job's weight quantization; without a named type bitsandbytes uses fp4."""
    if job.flag("QuantizationConfig", "load_in_4bit"):
        is_nf4 = job.value("QuantizationConfig", "bnb_4bit_quant_type") == "nf4"
        return Quantization.NF4 if is_nf4 else Quantization.FP4
    return Quantization.INT8 if job.flag("QuantizationConfig", "load_in_8bit") else Quantization.NONE


def seq_len_of(job: Job) -> int:
    """Return the longest sequence of a batch, in tokens: what sequences are cut to, or the longest row where stated.

    Packed rows are as long as the cap, however long the rows in them are.
    """
    cap, rows = cap_of(job), job.assumptions.rows
    return rows.longest_under(cap) if rows is not None and pads(job) else cap


def cap_of(job: Job) -> int:
    """Return the tokens that sequences are cut to: stated, else as the release truncates."""
    stated = job.assumptions.seq_len_tokens
    cap = stated or job.integer("TrainingArguments", "max_length", DEFAULT_CAP_TOKENS)
    limit = job.model.value.max_position_embeddings if job.model is not None else 0
    return min(cap, limit) if limit > 0 and stated is None else cap


def batch_size_of(job: Job) -> int:
    """Return the number of sequences that one GPU takes in a step."""
    return job.integer("TrainingArguments", "per_device_train_batch_size", 8)


def accumulation_steps_of(job: Job) -> int:
    """Return the number of batches between two optimizer steps."""
    return max(1, job.integer("TrainingArguments", "gradient_accumulation_steps", 1))


def pads(job: Job) -> bool:
    """Return whether sequences of one batch are padded to one length; packing fills them with text."""
    return not job.flag("TrainingArguments", "packing")


def targets_of(job: Job) -> tuple[str, ...]:
    """Return the names of the modules that adapters are put on: as written, else the release's default; or none."""
    written = job.value("LoraConfig", "target_modules")
    if isinstance(written, str):
        return (written,)
    if isinstance(written, (list, tuple)) and written:
        return tuple(str(name) for name in written)
    if job.model is None:
        return ()
    if job.target is Target.BUNDLED:
        return ("all-linear",)
    preset = job.preset.value if job.preset is not None else job.model.value.name
    return default_target_modules(preset, job.model.value.model_type) or ()


def weight_dtype_of(job: Job) -> Dtype:
    """Return the type weights are loaded in; omitted, transformers 4 takes float32 and 5 the checkpoint's."""
    written = job.value("ModelConfig", "torch_dtype")
    if isinstance(written, str) and written in _DTYPES:
        return _DTYPES[written]
    is_old = job.target is Target.KAITO and not job.release.has(LibraryChange.CHECKPOINT_DTYPE)
    return Dtype.FLOAT32 if is_old else Dtype.BFLOAT16


def attention_of(job: Job) -> Attention:
    """Return the attention implementation: as written, else as assumed; Kaito's image cannot choose one."""
    assumed = job.assumptions.attention if job.target is Target.BUNDLED else None
    written = job.value("ModelConfig", "attn_implementation") or assumed
    if written in ("eager", Attention.EAGER):
        return Attention.EAGER
    return Attention.FLASH if isinstance(written, str) and "flash" in written else Attention.SDPA


def workload_of(job: Job) -> Workload | None:
    """Return a job's training step for the memory engine, None while something that decides it is unknown."""
    return _step_of(job).workload


def decided_workload_of(job: Job) -> Workload | None:
    """Return a job's training step like `workload_of`; raises `UnknownValueError` where a placeholder decides it."""
    return _shared_step(job).workload


@dataclass(frozen=True, slots=True)
class _Step:
    """A training step, None while something that decides it is unknown; `by_gpu` has its footprints."""

    workload: Workload | None
    by_gpu: Memo = field(default_factory=Memo)


_UNKNOWN = _Step(None)


def _step_of(job: Job) -> _Step:
    try:
        return _shared_step(job)
    except UnknownValueError:
        return _UNKNOWN


def _shared_step(job: Job) -> _Step:
    """Return a job's training step, which is that of all equal runs; raises `UnknownValueError`."""
    return memo_of_run(job).get("step", lambda: _resolved_step(job))


def _resolved_step(job: Job) -> _Step:
    if job.config is None or job.model is None or not job.is_parsable or missing_gpus(job):
        return _UNKNOWN
    return _Step(_workload(job, job.model.value, targets_of(job)))


def _workload(job: Job, architecture: Architecture, targets: tuple[str, ...]) -> Workload | None:
    stack = stack_of(job)
    match = match_targets(architecture, targets, fused_experts=stack.fused_experts)
    if not targets or not (match.modules or match.embeddings):
        return None
    lora = _lora(job, targets)
    if len(lora.targets) + len(lora.modules_to_save) > _MOST_NAMES:
        return None
    quantization = quantization_of(job)
    quantized = quantization is not Quantization.NONE
    workload = Workload(
        architecture=architecture,
        lora=lora,
        batch_size=batch_size_of(job),
        seq_len_tokens=seq_len_of(job),
        stack=stack.name,
        quantization=quantization,
        double_quant=job.flag("QuantizationConfig", "bnb_4bit_use_double_quant"),
        kbit_prep=quantized,
        dtype=weight_dtype_of(job),
        autocast=_autocast(job),
        gradient_checkpointing=_checkpoints(job, quantized=quantized),
        attention=attention_of(job),
        loss=_loss(job, stack),
        optimizer=OPTIMIZERS_BY_OPTIM.get(str(optimizer_name(job)), stack.default_optimizer),
        allocator=Allocator.EXPANDABLE,
        num_gpus=job.num_gpus,
        empty_cache_each_step=job.target is Target.KAITO,
        is_padded=pads(job) and batch_size_of(job) > 1,
        accumulates=accumulation_steps_of(job) > 1,
        sharding=_sharding(job, stack),
    )
    return with_activation_offload(workload) if asks_offload(job) else workload


def asks_offload(job: Job) -> bool:
    """Return whether a job's saved activations are to go to the host."""
    return job.flag("TrainingArguments", _OFFLOAD)


def _lora(job: Job, targets: tuple[str, ...]) -> Lora:
    saved = job.value("LoraConfig", "modules_to_save")
    return Lora(
        rank=job.integer("LoraConfig", "r", 8),
        alpha=job.number("LoraConfig", "lora_alpha", 8.0),
        dropout=job.number("LoraConfig", "lora_dropout", 0.0),
        targets=targets,
        dora=job.flag("LoraConfig", "use_dora"),
        rslora=job.flag("LoraConfig", "use_rslora"),
        modules_to_save=tuple(str(name) for name in saved) if isinstance(saved, (list, tuple)) else (),
    )


def _sharding(job: Job, stack: Stack) -> Sharding:
    """Resolve how a job's GPUs share its model: as stated, else by the manifest's `fsdp`, else by the stack.

    Kaito's image starts whole copies whatever the manifest says. The bundled runtime reduces the gradients of trained
    matrices after every batch (`plan.memory.syncs_each_batch`).
    """
    request = job.assumptions.sharing
    if request.word == "auto" and job.target is Target.BUNDLED and job.num_gpus > 1:
        written = request_in(job.value("TrainingArguments", "fsdp")) or request
        request = replace(request, word=written.word)
    is_reduced = job.target is Target.BUNDLED and bool(job.value("LoraConfig", "modules_to_save"))
    return replace(sharding_for(request, stack), sync_each_batch=is_reduced)


def _checkpoints(job: Job, *, quantized: bool) -> bool:
    """Return whether activations are checkpointed; Kaito's `prepare_model_for_kbit_training` turns it on in any case.

    The bundled runtime hands on what the manifest says.
    """
    is_forced = quantized and job.target is Target.KAITO
    return is_forced or job.flag("TrainingArguments", "gradient_checkpointing")


def _loss(job: Job, stack: Stack) -> Loss:
    """Resolve a job's loss; the bundled runtime always computes it one way, whatever the manifest names (TRL 1.15+)."""
    if job.target is Target.BUNDLED:
        return Loss.FUSED
    named = {"nll": Loss.FULL, "chunked_nll": stack.chunked_loss}
    return named.get(str(job.value("TrainingArguments", "loss_type")), stack.default_loss)


def _autocast(job: Job) -> Dtype | None:
    """Return the type that autocast computes in, None without one; it leaves float64 alone (`autocast_mode.h`)."""
    if weight_dtype_of(job) is Dtype.FLOAT64:
        return None
    if job.flag("TrainingArguments", "fp16"):
        return Dtype.FLOAT16
    return Dtype.BFLOAT16 if job.flag("TrainingArguments", "bf16") else None


def footprint_of(job: Job) -> Footprint | None:
    """Return a job's predicted footprint, None when it cannot be told or no run can have that shape."""
    return memo_of_run(job).get("footprint", lambda: footprint_on(job, job.gpu.value if job.gpu is not None else None))


def footprint_on(job: Job, gpu: Gpu | None) -> Footprint | None:
    """Return the footprint of a job on some GPU, None when it is unknown or no run can have that shape."""
    step = _step_of(job)
    workload = step.workload
    return step.by_gpu.get(gpu, lambda: needs(workload, gpu)) if workload is not None else None


def needs(workload: Workload, gpu: Gpu | None) -> Footprint | None:
    """Return the footprint of a workload on a GPU, None when no run can have its shape."""
    return _footprint(key_of_need(workload), gpu)


@lru_cache(maxsize=4096)
def _footprint(workload: Workload, gpu: Gpu | None) -> Footprint | None:
    """Return the footprint of a workload; many manifests describe the same one."""
    try:
        return footprint(workload, gpu)
    except WorkloadError:
        return None


def verdict_of(job: Job) -> Verdict | None:
    """Return whether a job fits its GPU, None when the model or the GPU is unknown."""
    predicted = footprint_of(job)
    if predicted is None or job.gpu is None:
        return None
    return verdict(predicted, job.gpu.value, job.assumptions.margin)
