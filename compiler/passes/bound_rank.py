"""Lower a LoRA rank beyond which adapters cannot express more."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.linear_modules import match_targets
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of, workload_of
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_several

NAME = "bound-rank"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the largest rank that an adapted layer can have, with `lora_alpha` scaled so that the update keeps size."""
    workload = workload_of(job)
    if workload is None or workload.lora is None or not context.preserve.allows(Preserves.STATISTICAL):
        return
    lora = workload.lora
    matched = match_targets(workload.architecture, lora.targets, fused_experts=stack_of(job).fused_experts)
    bound = max((min(layer.in_features, layer.out_features) for layer in matched.modules), default=lora.rank)
    if lora.rank <= bound:
        return
    ratio = (bound / lora.rank) ** (0.5 if lora.rslora else 1.0)
    values: dict[str, object] = {"r": bound, "lora_alpha": max(1, round(lora.alpha * ratio))}
    reason = f"an update of a layer with {bound} inputs or outputs has at most rank {bound}; more only costs memory"
    yield set_several(job, "LoraConfig", values, reason, Preserves.STATISTICAL)
