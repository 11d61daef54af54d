"""A default for `target_modules` that reaches only some layers of the model."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.linear_modules import TargetMatch, match_targets
from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import stack_of, targets_of
from kaitoc.compiler.job.repairs import (
    repaired_targets,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT403"
NAME = "partial-default-target-modules"
SEVERITY = Severity.WARNING
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when nothing is written and some names of the release's default are not layers of the model."""
    targets = targets_of(job)
    is_written = job.option("LoraConfig", "target_modules") is not None
    if not is_on_kaito(job) or not job.parsed or job.model is None or is_written or not targets:
        return
    match = match_targets(job.model.value, targets, fused_experts=stack_of(job).fused_experts)
    names = repaired_targets(job)
    if match.unmatched and match.modules and names is not None:
        yield _fault(job, match, names)


def _fault(job: Job, match: TargetMatch, names: tuple[str, ...]) -> Fault:
    rank = max(1, job.integer("LoraConfig", "r", 8))
    model = job.model.value if job.model is not None else None
    trained = join_names(dict.fromkeys(module.name for module in match.modules))
    meant = match_targets(model, names, fused_experts=stack_of(job).fused_experts) if model is not None else match
    counts = (match.num_lora_parameters(rank), meant.num_lora_parameters(rank))
    return Fault(
        job.section_place("LoraConfig"),
        f"`target_modules` is not set: of Kaito's default names, {model.name if model is not None else 'the model'} "
        f"only has {trained}, so {counts[0]:,} parameters are trained instead of {counts[1]:,}",
        help=f"write `target_modules: [{', '.join(names)}]`",
        fix=setting_fix(
            job, "LoraConfig", "target_modules", list(names), f"Train {join_names(names)}", Applicability.UNSAFE
        ),
    )
