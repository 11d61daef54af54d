"""Refuses losses, optimizers and references of a step in ways that no library has, or that nobody read."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes, version_number
from kaitoc.compiler.memory.closed_form.size import HALF_BYTES
from kaitoc.compiler.memory.sharding.model import ShardingKind
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.workload import NEWEST_LIGER, Loss, Quantization, Reference, Workload, WorkloadError


def validate_optimizer_steps(workload: Workload) -> None:
    """Refuse the optimizer in the backward pass where gradients are needed after it."""
    if not workload.steps_in_backward:
        return
    require(
        not workload.accumulates,
        "the optimizer cannot step in the backward pass (--optimizer-in-backward) of a run that accumulates gradients",
    )
    require(
        workload.num_gpus == 1,
        "the optimizer in the backward pass is predicted for one GPU only: several GPUs would step before their "
        "gradients are averaged",
    )


def validate_activation_offload(workload: Workload) -> None:
    """Refuse activation offload where it works in another way than the code that was read."""
    if not workload.offloads_activations:
        return
    trl = find_stack(workload.stack).trl
    require(
        bool(trl) and changes()[LibraryChange.RELEASED_STORAGE_KEYS].includes(trl),
        "activation offload is predicted for TRL 1.10 and later, such as --stack trl-chunked, not for "
        f"{workload.stack}",
    )
    require(not workload.sharding.is_sharded, "activation offload is predicted on whole copies of a model (ddp)")
    require(workload.reference is Reference.NONE, "activation offload is predicted for supervised runs")


def validate_loss(workload: Workload) -> None:
    """Refuse versions of Liger Kernel that nobody read, and what cut cross-entropy asserts (`cce_backward_kernel`:
    hidden states in half precision).
    """
    version = version_number(workload.liger_version)
    require(bool(version), f"{workload.liger_version!r} is not a version of liger-kernel such as {NEWEST_LIGER}")
    require(
        version <= version_number(NEWEST_LIGER),
        f"liger-kernel {workload.liger_version} is not known; the nearest known version is {NEWEST_LIGER}",
    )
    if workload.loss is not Loss.CCE:
        return
    is_prepared = workload.kbit_prep and workload.quantization is not Quantization.NONE
    require(
        workload.dtype.num_bytes == HALF_BYTES and not is_prepared,
        "cut cross-entropy (cce) takes hidden states in bfloat16 or float16: load the weights in that "
        "type, and keep the norms "
        "in it (prepare_model_for_kbit_training widens them)",
    )


def validate_reference(workload: Workload) -> None:
    """Refuse preferences (dpo) with another loss, reference or way of sharing than TRL's `DPOTrainer` has."""
    if workload.reference is Reference.NONE:
        return
    require(workload.batch_size % 2 == 0, f"a batch of pairs has an even number of rows, not {workload.batch_size}")
    kind = workload.sharding.kind
    require(
        not workload.sharding.is_sharded or (kind is ShardingKind.FSDP2 and workload.reference is Reference.BASE),
        "a sharded preference (dpo) run needs an adapter and fsdp2",
    )
    require(
        (workload.reference is Reference.BASE) == (workload.lora is not None),
        "the reference must be an adapter's base model, or a copy of a model that is fully fine-tuned",
    )
    require(
        workload.loss is Loss.FUSED,
        f"TRL's DPOTrainer takes its own loss without logits (fused), not a {workload.loss.value} one",
    )


def require(condition: bool, message: str) -> None:
    """Raise `WorkloadError` with a message unless a condition holds."""
    if not condition:
        raise WorkloadError(message)
