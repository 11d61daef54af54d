"""From a plan to the question for the memory engine, and its answer."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.linear_modules import ALL_LINEAR, all_linear_targets
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.workload import (
    OPTIMIZERS_BY_OPTIM,
    Allocator,
    Attention,
    Dtype,
    Lora,
    Loss,
    Optimizer,
    Quantization,
    Workload,
    WorkloadError,
)
from kaitoc.compiler.plan.plan import FootprintPlan, LoraPlan, Plan

STACK = "trl-chunked"
"""The software stack of the bundled runtime, by its name in `schemas/catalog/stacks.json`."""

DEFAULT_LENGTH_TOKENS = 1024


def workload_of_plan(
    plan: Plan, architecture: Architecture, *, batch_size: int | None = None, seq_len_tokens: int | None = None,
    dtype: Dtype | None = None,
) -> Workload:  # fmt: skip
    """Return the training step of a plan on a model; `dtype` is the checkpoint's, for plans that say `auto`."""
    training, quantization = plan.training, plan.quantization
    loads, size = plan.model.dtype, batch_size or training.per_device_train_batch_size
    return Workload(
        architecture=architecture,
        lora=_lora(plan.lora, architecture) if plan.lora is not None else None,
        batch_size=size,
        seq_len_tokens=seq_len_tokens or _length(plan, architecture),
        stack=STACK,
        quantization=Quantization(quantization.method),
        double_quant=quantization.double_quant,
        kbit_prep=quantization.kbit_prep and quantization.method != "none",
        dtype=Dtype(loads) if loads != "auto" else dtype or Dtype.BFLOAT16,
        autocast=Dtype.BFLOAT16 if training.bf16 else Dtype.FLOAT16 if training.fp16 else None,
        gradient_checkpointing=training.gradient_checkpointing,
        attention=Attention.SDPA if plan.model.attention == "auto" else Attention(plan.model.attention),
        loss=Loss.FUSED,
        optimizer=OPTIMIZERS_BY_OPTIM.get(training.optim, Optimizer.ADAMW_FUSED),
        allocator=Allocator.EXPANDABLE,
        num_gpus=plan.num_processes,
        is_padded=size > 1 and not plan.data.packing,
        accumulates=training.gradient_accumulation_steps > 1,
    )


def with_prediction(plan: Plan, architecture: Architecture | None, gpu: Gpu | None) -> Plan:
    """Return the plan with the footprint that is predicted for a model and GPU, unchanged when it cannot be told."""
    if architecture is None:
        return plan
    try:
        predicted = footprint(workload_of_plan(plan, architecture), gpu)
    except WorkloadError:
        return plan
    return plan.model_copy(update={"predicted": footprint_plan(predicted)})


def sharded_bytes(predicted: FootprintPlan, num_processes: int) -> int:
    """Return what one of several processes that share a model needs.

    Sharding divides weights, adapters, gradients and optimizer states; activations stay with each process.
    """
    shared = predicted.weights + predicted.adapters + predicted.gradients + predicted.optimizer
    return predicted.reserved_bytes - shared + shared // num_processes


def footprint_plan(predicted: Footprint) -> FootprintPlan:
    """Return a prediction as a plan holds it."""
    return FootprintPlan(
        **{category.value: num_bytes for category, num_bytes in predicted.peak.categories.items()},
        allocated_bytes=predicted.allocated_bytes,
        reserved_bytes=predicted.reserved_bytes,
        device_bytes=predicted.device_bytes,
        num_trainable_parameters=predicted.num_trainable_parameters,
    )


def _lora(plan: LoraPlan, architecture: Architecture) -> Lora:
    """Return a plan's adapters; without names they are on linear layers, not on the fused experts of a mixture."""
    every_linear = all_linear_targets(architecture) if architecture.num_experts else (ALL_LINEAR,)
    return Lora(
        rank=plan.r,
        alpha=plan.lora_alpha,
        dropout=plan.lora_dropout,
        targets=plan.target_modules or every_linear,
        dora=plan.use_dora,
        rslora=plan.use_rslora,
        modules_to_save=plan.modules_to_save,
        rank_pattern=tuple(plan.rank_pattern.items()),
        alpha_pattern=tuple(plan.alpha_pattern.items()),
    )


def _length(plan: Plan, architecture: Architecture) -> int:
    limit = architecture.max_position_embeddings
    cap = plan.data.max_length or limit or DEFAULT_LENGTH_TOKENS
    return min(cap, limit) if limit > 0 else cap
