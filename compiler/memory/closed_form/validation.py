"""Refuses workloads that no run can have."""

from __future__ import annotations

from math import isqrt

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import find_family, known_model_types
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.step_validation import (
    require,
    validate_activation_offload,
    validate_loss,
    validate_optimizer_steps,
    validate_reference,
)
from kaitoc.compiler.memory.sharding.model import MAX_GPUS, WHOLE_COPIES, Offload, Sharding, ShardingKind
from kaitoc.compiler.memory.workload import (
    Loss,
    Quantization,
    Reference,
    Workload,
    WorkloadError,
)

MIN_SHARDS = 2


def validate(workload: Workload) -> None:
    """Raise `WorkloadError` for a workload that no run can have."""
    architecture, lora = workload.architecture, workload.lora
    require(workload.batch_size >= 1, f"the batch size must be at least 1, not {workload.batch_size}")
    require(workload.seq_len_tokens >= 1, f"the sequence length must be at least 1, not {workload.seq_len_tokens}")
    limit = architecture.max_position_embeddings
    require(
        limit <= 0 or workload.seq_len_tokens <= limit,
        f"a sequence of {workload.seq_len_tokens:,} tokens is longer than {architecture.name} takes ({limit:,})"
        f"{_scaling_hint(architecture)}",
    )
    require(
        architecture.num_heads >= 1 and architecture.num_kv_heads >= 1,
        f"{architecture.name} needs at least one attention head",
    )
    require(
        architecture.num_heads % architecture.num_kv_heads == 0,
        f"{architecture.num_heads} attention heads cannot share {architecture.num_kv_heads} key heads evenly",
    )
    require(
        "head_dim" in architecture.config or architecture.hidden_size % architecture.num_heads == 0,
        f"a hidden size of {architecture.hidden_size} cannot be split into {architecture.num_heads} heads",
    )
    require(
        not workload.holds_outputs or workload.loss is Loss.FULL,
        f"held outputs include logits, which a {workload.loss.value} loss does not return; use the full loss",
    )
    require(
        not workload.holds_outputs or not (workload.sharding.is_sharded or workload.reference is not Reference.NONE),
        "held outputs are predicted for supervised runs on whole copies of a model (ddp) only",
    )
    require(
        lora is not None or workload.quantization is Quantization.NONE,
        f"full fine-tuning cannot train {workload.quantization.value} weights; train adapters on them (lora or qlora), "
        "or load the weights without quantization",
    )
    validate_loss(workload)
    validate_optimizer_steps(workload)
    validate_activation_offload(workload)
    _validate_sharing(workload)
    validate_reference(workload)
    if lora is not None:
        ranks = (lora.rank, *(rank for _, rank in lora.rank_pattern))
        require(bool(lora.targets or lora.modules_to_save), "an adapter needs target modules")
        require(min(ranks) >= 1, f"the LoRA rank must be at least 1, not {min(ranks)}")
        require(0.0 <= lora.dropout < 1.0, f"the LoRA dropout must be at least 0 and below 1, not {lora.dropout}")


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


def _validate_sharing(workload: Workload) -> None:
    """Raise `WorkloadError` that names the nearest way of sharing the model that there is.

    Following it leads to no other error of this module, unless the workload has a further fault.
    """
    sharding, num_gpus = workload.sharding, workload.num_gpus
    validate_count(num_gpus)
    if sharding is WHOLE_COPIES:
        return
    if sharding.is_sharded:
        _require_enough(sharding, num_gpus)
    validate_nodes(num_gpus, sharding.num_nodes)
    if sharding.is_sharded:
        _validate_shards(workload)
    else:
        _validate_copies(workload)


def validate_count(num_gpus: int) -> None:
    """Raise `WorkloadError` for a number of GPUs that no job has."""
    require(num_gpus >= 1, f"the number of GPUs must be at least 1, not {num_gpus}")
    require(num_gpus <= MAX_GPUS, f"the number of GPUs must be at most {MAX_GPUS:,}, not {num_gpus:,}")


def validate_nodes(num_gpus: int, num_nodes: int) -> None:
    """Raise `WorkloadError` that names the nearest number of nodes that the GPUs can be spread over evenly."""
    require(num_nodes >= 1, f"the number of nodes must be at least 1, not {num_nodes}")
    if num_gpus % num_nodes:
        nearest = nearest_divisor(num_gpus, num_nodes)
        nodes = "1 node" if nearest == 1 else f"{nearest:,} nodes"
        gpus = "1 GPU" if num_gpus == 1 else f"{num_gpus:,} GPUs"
        raise WorkloadError(f"{gpus} cannot be spread evenly over {num_nodes:,} nodes; {nodes} would work")


def _validate_copies(workload: Workload) -> None:
    """Refuse what only shards have, with the way to shards."""
    sharding, fewest = workload.sharding, fewest_gpus(workload.sharding)
    kind = ShardingKind.ZERO3 if sharding.offload is Offload.OPTIMIZER else ShardingKind.FSDP2
    use = f"use {kind.value}" if workload.num_gpus > 1 else f"use {kind.value} on at least {fewest} GPUs"
    require(
        sharding.offload is Offload.NONE, f"offload needs a sharded model: whole copies (ddp) stay on the GPU; {use}"
    )
    group, size = sharding.shard_group, ""
    if group is not None and not _can_form(max(workload.num_gpus, fewest), group):
        size = f" with groups of {nearest_divisor(max(workload.num_gpus, fewest), group, MIN_SHARDS)}"
    require(group is None, f"a shard group needs a sharded model; {use}{size}")
    require(sharding.reshard_after_forward, f"whole copies (ddp) have no gathered weights to keep; {use}")


def _require_enough(sharding: Sharding, num_gpus: int) -> None:
    fewest = fewest_gpus(sharding)
    groups = f" in groups of {sharding.shard_group}" if fewest > MIN_SHARDS else ""
    require(num_gpus > 1, f"{sharding.kind.value}{groups} needs at least {fewest} GPUs, not {num_gpus}")


def _validate_shards(workload: Workload) -> None:
    sharding, num_gpus = workload.sharding, workload.num_gpus
    kind, group, can_be_whole = sharding.kind.value, sharding.shard_group, not _has_options_of_shards(sharding)
    require(
        not workload.quantization.is_packed,
        f"sharded {workload.quantization.value} weights are not predicted; use "
        f"{'whole copies (ddp), or ' if can_be_whole else ''}nf4",
    )
    require(
        workload.quantization is not Quantization.INT8,
        f"8-bit weights cannot be sharded by {kind}; use 4-bit (nf4){', or ddp' if can_be_whole else ''}",
    )
    if sharding.kind.is_fsdp:
        validate_group(num_gpus, group)
        other = "" if group is not None else ", or zero3"
        require(
            sharding.offload is not Offload.OPTIMIZER,
            f"{kind} offloads the optimizer with the parameters only; use parameters{other}",
        )
        return
    nearest = nearest_divisor(num_gpus, group, MIN_SHARDS) if group is not None else num_gpus
    require(nearest == num_gpus, f"zero3 splits the model among all GPUs; use fsdp2 for shard groups of {nearest}")
    validate_group(num_gpus, group)
    require(sharding.reshard_after_forward, "zero3 always frees gathered weights; use fsdp2 to keep them")


def fewest_gpus(sharding: Sharding) -> int:
    """Return the fewest GPUs that a model as it is shared, or shards with what is stated of them, need."""
    if not (sharding.is_sharded or _has_options_of_shards(sharding)):
        return 1
    return max(MIN_SHARDS, sharding.shard_group or MIN_SHARDS)


def _has_options_of_shards(sharding: Sharding) -> bool:
    """Return whether whole copies would refuse what is stated beside the kind."""
    is_resharded = sharding.reshard_after_forward
    return sharding.shard_group is not None or sharding.offload is not Offload.NONE or not is_resharded


def validate_group(num_gpus: int, group: int | None) -> None:
    """Raise `WorkloadError` that names the nearest size to a shard group that so many GPUs cannot form."""
    validate_count(num_gpus)
    if group is not None and num_gpus > 1 and not _can_form(num_gpus, group):
        nearest = nearest_divisor(num_gpus, group, MIN_SHARDS)
        raise WorkloadError(f"{num_gpus:,} GPUs cannot form shard groups of {group:,}; the nearest size is {nearest:,}")


def _can_form(num_gpus: int, group: int) -> bool:
    return MIN_SHARDS <= group <= num_gpus and num_gpus % group == 0


def nearest_divisor(number: int, wanted: int, least: int = 1) -> int:
    """Return the divisor of a number that is closest to what is wanted."""
    small = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    divisors = sorted({*small, *(number // divisor for divisor in small)})
    return min((one for one in divisors if one >= least), key=lambda divisor: abs(divisor - wanted))
