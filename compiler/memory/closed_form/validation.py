"""Refuses workloads that no run can have."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import find_family, known_model_types
from kaitoc.compiler.catalog.library_changes import LibraryChange, changes, version_number
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.size import HALF_BYTES
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES, Offload, ShardingKind
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import (
    NEWEST_LIGER,
    Loss,
    Quantization,
    Reference,
    Workload,
    WorkloadError,
)


def validate(workload: Workload) -> None:
    """Raise `WorkloadError` for a workload that no run can have."""
    architecture, lora = workload.architecture, workload.lora
    _require(workload.batch_size >= 1, f"the batch size must be at least 1, not {workload.batch_size}")
    _require(workload.seq_len_tokens >= 1, f"the sequence length must be at least 1, not {workload.seq_len_tokens}")
    _require(workload.num_gpus >= 1, f"the number of GPUs must be at least 1, not {workload.num_gpus}")
    limit = architecture.max_position_embeddings
    _require(
        limit <= 0 or workload.seq_len_tokens <= limit,
        f"a sequence of {workload.seq_len_tokens:,} tokens is longer than {architecture.name} takes ({limit:,})"
        f"{_scaling_hint(architecture)}",
    )
    _require(
        architecture.num_heads >= 1 and architecture.num_kv_heads >= 1,
        f"{architecture.name} needs at least one attention head",
    )
    _require(
        architecture.num_heads % architecture.num_kv_heads == 0,
        f"{architecture.num_heads} attention heads cannot share {architecture.num_kv_heads} key heads evenly",
    )
    _require(
        "head_dim" in architecture.config or architecture.hidden_size % architecture.num_heads == 0,
        f"a hidden size of {architecture.hidden_size} cannot be split into {architecture.num_heads} heads",
    )
    _require(
        not workload.holds_outputs or workload.loss is Loss.FULL,
        f"held outputs include logits, which a {workload.loss.value} loss does not return; use the full loss",
    )
    _require(
        not workload.holds_outputs or not (workload.sharding.is_sharded or workload.reference is not Reference.NONE),
        "held outputs are predicted for supervised runs on whole copies of a model (ddp) only",
    )
    _require(
        lora is not None or workload.quantization is Quantization.NONE,
        f"full fine-tuning cannot train {workload.quantization.value} weights; train adapters on them (lora or qlora), "
        "or load the weights without quantization",
    )
    _validate_loss(workload)
    _validate_steps(workload)
    _validate_offload(workload)
    _validate_sharding(workload)
    _validate_reference(workload)
    if lora is not None:
        ranks = (lora.rank, *(rank for _, rank in lora.rank_pattern))
        _require(bool(lora.targets or lora.modules_to_save), "an adapter needs target modules")
        _require(min(ranks) >= 1, f"the LoRA rank must be at least 1, not {min(ranks)}")
        _require(0.0 <= lora.dropout < 1.0, f"the LoRA dropout must be at least 0 and below 1, not {lora.dropout}")


def can_run(workload: Workload) -> bool:
    """Return whether a run can have a workload."""
    try:
        validate(workload)
    except WorkloadError:
        return False
    return True


def with_activation_offload(workload: Workload) -> Workload:
    """Return a workload whose saved activations go to the host, unchanged, as an upper bound, where that is not
    predicted.
    """
    offloaded = replace(workload, offloads_activations=True)
    is_decided = workload.sharding.kind is not ShardingKind.AUTO
    return offloaded if can_run(offloaded if is_decided else replace(offloaded, sharding=WHOLE_COPIES)) else workload


def _scaling_hint(architecture: Architecture) -> str:
    """Name the way for positions to reach further: rotary ones can be scaled, learned ones end with their table."""
    model_type = architecture.model_type
    is_rotary = model_type in known_model_types() and find_family(model_type).rotary
    return "; `rope_scaling` in a config.json (--model-config) raises the limit" if is_rotary else ""


def _validate_steps(workload: Workload) -> None:
    """Refuse the optimizer in the backward pass where gradients are needed after it."""
    if not workload.steps_in_backward:
        return
    _require(
        not workload.accumulates,
        "the optimizer cannot step in the backward pass (--optimizer-in-backward) of a run that accumulates gradients",
    )
    _require(
        workload.num_gpus == 1,
        "the optimizer in the backward pass is predicted for one GPU only: several GPUs would step before their "
        "gradients are averaged",
    )


def _validate_offload(workload: Workload) -> None:
    """Refuse activation offload where it works in another way than the code that was read."""
    if not workload.offloads_activations:
        return
    trl = find_stack(workload.stack).trl
    _require(
        bool(trl) and changes()[LibraryChange.RELEASED_STORAGE_KEYS].includes(trl),
        "activation offload is predicted for TRL 1.10 and later, such as --stack trl-chunked, not for "
        f"{workload.stack}",
    )
    _require(not workload.sharding.is_sharded, "activation offload is predicted on whole copies of a model (ddp)")
    _require(workload.reference is Reference.NONE, "activation offload is predicted for supervised runs")


def _validate_loss(workload: Workload) -> None:
    """Refuse versions of Liger Kernel that nobody read, and what cut cross-entropy asserts (`cce_backward_kernel`:
    hidden states in half precision).
    """
    version = version_number(workload.liger_version)
    _require(bool(version), f"{workload.liger_version!r} is not a version of liger-kernel such as {NEWEST_LIGER}")
    _require(
        version <= version_number(NEWEST_LIGER),
        f"liger-kernel {workload.liger_version} is not known; the nearest known version is {NEWEST_LIGER}",
    )
    if workload.loss is not Loss.CCE:
        return
    is_prepared = workload.kbit_prep and workload.quantization is not Quantization.NONE
    _require(
        workload.dtype.num_bytes == HALF_BYTES and not is_prepared,
        "cut cross-entropy (cce) takes hidden states in bfloat16 or float16: load the weights in that "
        "type, and keep the norms "
        "in it (prepare_model_for_kbit_training widens them)",
    )


def _validate_sharding(workload: Workload) -> None:
    """Raise `WorkloadError` that names the nearest way of sharding that there is."""
    sharding, num_gpus = workload.sharding, workload.num_gpus
    if sharding is WHOLE_COPIES:
        return
    num_nodes, offload = sharding.num_nodes, sharding.offload
    _require(num_nodes >= 1, f"the number of nodes must be at least 1, not {num_nodes}")
    if num_gpus % num_nodes:
        nearest = nearest_divisor(num_gpus, num_nodes)
        nodes = "1 node" if nearest == 1 else f"{nearest} nodes"
        gpus = "1 GPU" if num_gpus == 1 else f"{num_gpus} GPUs"
        raise WorkloadError(f"{gpus} cannot be spread evenly over {num_nodes} nodes; {nodes} would work")
    if sharding.is_sharded:
        _validate_shards(workload)
        return
    _require(offload is Offload.NONE, "offload needs a sharded model: whole copies (ddp) stay on the GPU; use fsdp2")
    _require(sharding.shard_group is None, "a shard group needs a sharded model; use fsdp2")
    _require(sharding.reshard_after_forward, "whole copies (ddp) have no gathered weights to keep; use fsdp2")


def _validate_shards(workload: Workload) -> None:
    sharding, num_gpus = workload.sharding, workload.num_gpus
    kind, group = sharding.kind.value, sharding.shard_group
    _require(num_gpus > 1, f"{kind} needs at least 2 GPUs, not {num_gpus}")
    _require(
        not workload.quantization.is_packed,
        f"sharded {workload.quantization.value} weights are not predicted; use whole copies (ddp), or nf4",
    )
    _require(
        workload.quantization is not Quantization.INT8,
        f"8-bit weights cannot be sharded by {kind}; use 4-bit (nf4), or ddp",
    )
    validate_group(num_gpus, group)
    if sharding.kind.is_fsdp:
        _require(
            sharding.offload is not Offload.OPTIMIZER,
            f"{kind} offloads the optimizer with the parameters only; use parameters, or zero3",
        )
        return
    _require(sharding.reshard_after_forward, "zero3 always frees gathered weights; use fsdp2 to keep them")
    _require(group in (None, num_gpus), f"zero3 splits the model among all GPUs; use fsdp2 for shard groups of {group}")


def validate_group(num_gpus: int, group: int | None) -> None:
    """Raise `WorkloadError` that names the nearest size to a shard group that so many GPUs cannot form."""
    if group is not None and num_gpus > 1 and not (1 < group <= num_gpus and num_gpus % group == 0):
        nearest = nearest_divisor(num_gpus, group, 2)
        raise WorkloadError(f"{num_gpus} GPUs cannot form shard groups of {group}; the nearest size is {nearest}")


def _validate_reference(workload: Workload) -> None:
    if workload.reference is Reference.NONE:
        return
    _require(workload.batch_size % 2 == 0, f"a batch of pairs has an even number of rows, not {workload.batch_size}")
    kind = workload.sharding.kind
    _require(
        not workload.sharding.is_sharded or (kind is ShardingKind.FSDP2 and workload.reference is Reference.BASE),
        "a sharded preference (dpo) run needs an adapter and fsdp2",
    )
    _require(
        (workload.reference is Reference.BASE) == (workload.lora is not None),
        "the reference must be an adapter's base model, or a copy of a model that is fully fine-tuned",
    )
    _require(
        workload.loss is Loss.FUSED,
        f"TRL's DPOTrainer takes its own loss without logits (fused), not a {workload.loss.value} one",
    )


def nearest_divisor(number: int, wanted: int, least: int = 1) -> int:
    """Return the divisor of a number that is closest to what is wanted."""
    divisors = (divisor for divisor in range(least, number + 1) if number % divisor == 0)
    return min(divisors, key=lambda divisor: abs(divisor - wanted))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise WorkloadError(message)
