"""From a job to the plan that the runtime executes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaitoc.compiler import __version__
from kaitoc.compiler.job import Job
from kaitoc.compiler.job_memory import attention_of, footprint_of, quantization_of, seq_len_of, targets_of
from kaitoc.compiler.memory.workload import Attention, Quantization
from kaitoc.compiler.plan import (
    DataPlan,
    FootprintPlan,
    LoraPlan,
    ModelPlan,
    OutputPlan,
    Plan,
    PlanError,
    ProvenancePlan,
    QuantizationPlan,
    TrainingPlan,
)
from kaitoc.compiler.report.estimate_text import category_items

KAITO_WEIGHTS = "/workspace/tfs/weights"
KAITO_DATA = "/mnt/data"
KAITO_OUTPUT = "/mnt/results"
_MAPPED_KEYS = frozenset(
    (
        "output_dir", "num_train_epochs", "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size",
        "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay",
        "max_grad_norm", "optim", "gradient_checkpointing", "bf16", "fp16", "seed", "logging_steps", "save_strategy",
        "save_steps", "eval_strategy", "max_length", "packing", "report_to", "use_cpu",
    )
)  # fmt: skip
_ATTENTION = {Attention.EAGER: "eager", Attention.SDPA: "sdpa", Attention.FLASH: "flash_attention_2"}


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things really are; None keeps the path that the manifest or Kaito's image uses."""

    model: str | None = None
    data: str | None = None
    output: str | None = None


def plan_of(job: Job, paths: Paths) -> Plan:
    """Return the plan of a job whose sections the parser accepts; raises `PlanError` when something is missing."""
    if not job.is_parsable:
        raise PlanError("the training config cannot be read; `kaitoc check` says why")
    try:
        return Plan(
            model=_model(job, paths),
            quantization=_quantization(job),
            lora=_lora(job),
            data=_data(job, paths),
            training=_training(job),
            output=OutputPlan(folder=paths.output or _text(job, "TrainingArguments", "output_dir") or KAITO_OUTPUT),
            footprint=_footprint(job),
            provenance=_provenance(job),
        )
    except ValueError as error:
        raise PlanError(f"the training config makes no plan: {_first_fault(error)}") from error


def _first_fault(error: ValueError) -> str:
    faults = getattr(error, "errors", None)
    if faults is None:
        return str(error)
    fault = faults()[0]
    return f"{'.'.join(str(key) for key in fault['loc'])}: {fault['msg']}"


def _model(job: Job, paths: Paths) -> ModelPlan:
    stated = _text(job, "ModelConfig", "pretrained_model_name_or_path")
    dtype = _text(job, "ModelConfig", "torch_dtype") or "bfloat16"
    return ModelPlan(
        path=paths.model or stated or KAITO_WEIGHTS,
        revision=_text(job, "ModelConfig", "revision") or "main",
        dtype={"half": "float16", "float": "float32"}.get(dtype, dtype),  # type: ignore[arg-type]  # pydantic checks it
        attention=_ATTENTION[attention_of(job)],  # type: ignore[arg-type]  # the values are the literals
        chat_template=_text(job, "ModelConfig", "chat_template"),
        trust_remote_code=job.flag("ModelConfig", "trust_remote_code"),
    )


def _quantization(job: Job) -> QuantizationPlan:
    kind = quantization_of(job)
    if kind is Quantization.NONE:
        return QuantizationPlan()
    return QuantizationPlan(
        kind=kind.value,
        compute_dtype=_text(job, "QuantizationConfig", "bnb_4bit_compute_dtype") or "float32",  # type: ignore[arg-type]  # pydantic checks it
        double_quant=job.flag("QuantizationConfig", "bnb_4bit_use_double_quant"),
    )


def _lora(job: Job) -> LoraPlan:
    saved = job.value("LoraConfig", "modules_to_save")
    targets = targets_of(job)
    return LoraPlan(
        rank=job.integer("LoraConfig", "r", 8),
        alpha=_number(job, "LoraConfig", "lora_alpha", 8.0),
        dropout=_number(job, "LoraConfig", "lora_dropout", 0.0),
        targets="all-linear" if targets in ((), ("all-linear",)) else targets,
        bias=_text(job, "LoraConfig", "bias") or "none",  # type: ignore[arg-type]  # pydantic checks it
        use_rslora=job.flag("LoraConfig", "use_rslora"),
        use_dora=job.flag("LoraConfig", "use_dora"),
        modules_to_save=tuple(str(name) for name in saved) if isinstance(saved, (list, tuple)) else (),
    )


def _data(job: Job, paths: Paths) -> DataPlan:
    urls = [field.text for field in job.workspace.fields("tuning", "input", "urls")] if job.workspace else []
    stated = tuple(url for url in urls if url)
    return DataPlan(
        paths=(paths.data,) if paths.data is not None else stated or (KAITO_DATA,),
        train_share=_number(job, "DatasetConfig", "train_test_split", 1.0),
        shuffle=job.flag("DatasetConfig", "shuffle_dataset"),
        shuffle_seed=job.integer("DatasetConfig", "shuffle_seed", 42),
        max_length_tokens=seq_len_of(job),
        packing=job.flag("TrainingArguments", "packing"),
    )


def _training(job: Job) -> TrainingPlan:
    section = "TrainingArguments"
    precision = "fp16" if job.flag(section, "fp16") else "bf16" if job.flag(section, "bf16") else "no"
    return TrainingPlan(
        num_epochs=_number(job, section, "num_train_epochs", 3.0),
        max_steps=job.integer(section, "max_steps", -1),
        batch_size=job.integer(section, "per_device_train_batch_size", 8),
        eval_batch_size=job.integer(section, "per_device_eval_batch_size", 8),
        accumulation_steps=job.integer(section, "gradient_accumulation_steps", 1),
        learning_rate=_number(job, section, "learning_rate", 2e-5),
        lr_scheduler_type=_text(job, section, "lr_scheduler_type") or "linear",
        warmup_steps=_number(job, section, "warmup_steps", 0.0),
        weight_decay=_number(job, section, "weight_decay", 0.0),
        max_grad_norm=_number(job, section, "max_grad_norm", 1.0),
        optimizer=_text(job, section, "optim") or "adamw_torch_fused",
        gradient_checkpointing=job.flag(section, "gradient_checkpointing"),
        mixed_precision=precision,  # type: ignore[arg-type]  # one of the three literals
        seed=job.integer(section, "seed", 42),
        logging_steps=_number(job, section, "logging_steps", 10.0),
        save_strategy=_text(job, section, "save_strategy") or "no",  # type: ignore[arg-type]  # pydantic checks it
        save_steps=_number(job, section, "save_steps", 500.0),
        eval_strategy=_text(job, section, "eval_strategy") or "no",  # type: ignore[arg-type]  # pydantic checks it
        extra=_extra(job),
    )


def _extra(job: Job) -> dict[str, Any]:
    """Return the options that the file states and no field of the plan holds."""
    parse = job.parsed["TrainingArguments"]
    return {
        name: found.value
        for name, found in parse.values.items()
        if found.entry_index is not None and name not in _MAPPED_KEYS
    }


def _footprint(job: Job) -> FootprintPlan | None:
    predicted = footprint_of(job)
    if predicted is None:
        return None
    return FootprintPlan(
        categories=dict(category_items(predicted.peak.categories)),
        allocated_bytes=predicted.allocated_bytes,
        reserved_bytes=predicted.reserved_bytes,
        device_bytes=predicted.device_bytes,
    )


def _provenance(job: Job) -> ProvenancePlan:
    return ProvenancePlan(
        manifest=job.manifest.source.path,
        workspace=job.workspace.ref.name if job.workspace is not None else "",
        config_map=job.config_map.ref.name if job.config_map is not None else "",
        kaito_release=job.release.name,
        kaitoc_version=__version__,
    )


def _text(job: Job, section: str, name: str) -> str | None:
    value = job.value(section, name)
    return value if isinstance(value, str) and value else None


def _number(job: Job, section: str, name: str, default: float) -> float:
    value = job.value(section, name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default
