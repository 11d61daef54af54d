"""From a plan to the question for the memory engine, and its answer."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError
from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.linear_modules import ALL_LINEAR, all_linear_targets
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.source import Source, SourceError
from kaitoc.compiler.memory.batches import Batching, Loading
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.closed_form.validation import with_activation_offload
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.weight_storage import WeightStorage, stored_weights
from kaitoc.compiler.memory.workload import (
    OPTIMIZERS_BY_OPTIM,
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
from kaitoc.compiler.plan.plan import FootprintPlan, LoraPlan, Plan, PlanError

STACK = "trl-chunked"
"""The software stack of the bundled runtime, by its name in `schemas/catalog/stacks.json`."""

DEFAULT_LENGTH_TOKENS = 1024

_OFFLOAD = "activation_offloading"


def workload_of_plan(
    plan: Plan, architecture: Architecture, *, batch_size: int | None = None, seq_len_tokens: int | None = None,
    dtype: Dtype | None = None,
) -> Workload:  # fmt: skip
    """Return the training step of a plan on a model; `dtype` is the checkpoint's, for plans that say `auto`.

    Raises `WorkloadError` for weights that transformers cannot load as the plan says.
    """
    training, storage = plan.training, _storage(plan, architecture)
    loads, size = plan.model.dtype, batch_size or plan.sequences_per_batch
    workload = Workload(
        architecture=architecture,
        lora=_lora(plan.lora, architecture) if plan.lora is not None else None,
        batch_size=size,
        seq_len_tokens=seq_len_tokens or _length(plan, architecture),
        stack=STACK,
        quantization=storage.quantization,
        double_quant=storage.double_quant,
        group_size=storage.group_size,
        kbit_prep=plan.quantization.kbit_prep and plan.quantization.method != "none",
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
        sharding=replace(
            sharding_for(SharingRequest(plan.sharding, plan.num_nodes, plan.shard_group), find_stack(STACK)),
            sync_each_batch=syncs_each_batch(plan),
        ),
        reference=_reference(plan),
    )
    return with_activation_offload(workload) if training.extra_training_arguments.get(_OFFLOAD) else workload


def _storage(plan: Plan, architecture: Architecture) -> WeightStorage:
    """Resolve how the weights are quantized: what the checkpoint holds, else as the plan says."""
    stored, asked = stored_weights(architecture), Quantization(plan.quantization.method)
    if stored is None:
        return WeightStorage(asked, plan.quantization.double_quant)
    if asked not in (Quantization.NONE, stored.quantization):
        raise WorkloadError(
            f"{architecture.name} holds {stored.quantization.value} weights, which cannot be loaded as {asked.value}"
        )
    return stored


def _reference(plan: Plan) -> Reference:
    if plan.dpo is None:
        return Reference.NONE
    return Reference.COPY if plan.lora is None else Reference.BASE


def syncs_each_batch(plan: Plan) -> bool:
    """Return whether a sharded run reduces gradients after every batch of an accumulation.

    Kept whole until the last one, as the Trainer does by itself, those of all weights outweigh everything else that a
    process holds, and those of a head are as large as it; those of adapters hardly count.
    """
    trains_matrices = plan.lora is None or bool(plan.lora.modules_to_save)
    return trains_matrices and plan.training.gradient_accumulation_steps > 1


def require_shardable(plan: Plan) -> None:
    """Raise `PlanError` for weights that several processes cannot split, with the nearest that they can."""
    if plan.sharding == "fsdp2" and plan.num_processes > 1 and plan.quantization.method == Quantization.INT8.value:
        raise PlanError("an 8-bit model cannot be sharded; use 4-bit (nf4), or --sharding ddp")


def loading_of_plan(plan: Plan) -> Loading:
    """Resolve how a plan's rows become batches: packing, grouping, accumulation and padding."""
    is_grouped = plan.training.train_sampling_strategy == "group_by_length"
    batching = Batching.GROUPED if is_grouped else Batching.RANDOM
    return Loading(
        Batching.PACKED if plan.data.packing else batching,
        plan.training.gradient_accumulation_steps,
        plan.data.pad_to_multiple_of or 1,
    )


def architecture_of(plan: Plan) -> Architecture | None:
    """Return the model of a plan: as its folder says, else as the catalog knows it; None where neither does."""
    path = os.path.join(plan.model.path, "config.json")
    if os.path.isfile(path):
        try:
            return from_config(os.path.basename(os.path.normpath(plan.model.path)), json.loads(Source.read(path).text))
        except (ArchitectureError, SourceError, ValueError, RecursionError):
            return None
    return find_model(plan.provenance.preset or plan.model.path)


def shared_footprint(
    plan: Plan, gpu: Gpu | None, *, num_processes: int | None = None, sharding: str | None = None
) -> Footprint | None:
    """Predict each process's GPU memory, None for an unknown model or an impossible run.

    `num_processes` and `sharding` stand in for the plan's.
    """
    changes = {"num_processes": num_processes or plan.num_processes, "sharding": sharding or plan.sharding}
    workload = shared_workload(plan.model_copy(update=changes))
    if workload is None:
        return None
    try:
        return footprint(workload, gpu)
    except WorkloadError:
        return None


def shared_workload(plan: Plan) -> Workload | None:
    """Return the training step of a plan's processes, None for an unknown model or weights that it cannot load."""
    architecture = architecture_of(plan)
    if architecture is None:
        return None
    try:
        return workload_of_plan(plan, architecture)
    except WorkloadError:
        return None


def with_prediction(plan: Plan, architecture: Architecture | None, gpu: Gpu | None) -> Plan:
    """Return the plan with the footprint that is predicted for a model and GPU, without one where it is unknown.

    As long as it has one process, that one holds the whole model.
    """
    alone = {"sharding": "auto", "shard_group": None} if plan.num_processes == 1 else {}
    predicted = None
    if architecture is not None:
        with suppress(WorkloadError):
            found = footprint(workload_of_plan(plan.model_copy(update=alone), architecture), gpu)
            predicted = footprint_plan(found)
    return plan.model_copy(update={"predicted": predicted})


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
