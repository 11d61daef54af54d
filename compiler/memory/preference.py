"""The memory of a step of direct preference optimization: two rows per pair, and the reference's pass beside them."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.footprint import footprint, saved_bytes
from kaitoc.compiler.memory.result import Footprint, Phase
from kaitoc.compiler.memory.workload import Workload


def preference_footprint(workload: Workload, gpu: Gpu | None = None) -> Footprint:
    """Return the footprint of a step whose batch holds chosen and rejected rows, the reference being the base model.

    The reference runs without gradients once the policy has run, whose saved tensors wait for the backward pass
    (trl/trainer/dpo_trainer.py, `_compute_loss`). Raises `WorkloadError` as `footprint` does.
    """
    policy = footprint(workload, gpu)
    extra_bytes = max(0, _reference_bytes(workload, gpu) - _forward_bytes(policy))
    phases = tuple(
        replace(peak, categories=replace(peak.categories, activations=peak.categories.activations + extra_bytes))
        if peak.phase is Phase.FORWARD
        else peak
        for peak in policy.phases
    )
    priced = replace(policy, phases=phases)
    higher_bytes = priced.allocated_bytes - policy.allocated_bytes
    return replace(priced, low_bytes=policy.low_bytes + higher_bytes, high_bytes=policy.high_bytes + higher_bytes)


def _reference_bytes(workload: Workload, gpu: Gpu | None) -> int:
    """Return what is live while the reference runs: what the policy saved, and one layer's tensors.

    A forward pass with checkpoints saves the layers' inputs and else computes without gradients, as the reference.
    """
    checkpointed = replace(workload, gradient_checkpointing=True)
    passing_bytes = _forward_bytes(footprint(checkpointed, gpu)) - saved_bytes(checkpointed)
    return passing_bytes + saved_bytes(workload)


def _forward_bytes(predicted: Footprint) -> int:
    return next(peak.allocated_bytes for peak in predicted.phases if peak.phase is Phase.FORWARD)
