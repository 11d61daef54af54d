"""Put adapters on the modules that the model has, where the names are those of another architecture."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import targets_of
from kaitoc.compiler.job.repairs import repaired_targets
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-targets"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the change of `target_modules` to what they mean on the job's model."""
    repaired = repaired_targets(job)
    if repaired is None or job.model is None:
        return
    yield set_to(job, "LoraConfig", "target_modules", list(repaired), _reason(job, repaired), Preserves.INTENT)


def _reason(job: Job, repaired: tuple[str, ...]) -> str:
    model = job.model.value.name if job.model is not None else ""
    asked = targets_of(job)
    missing = [name for name in asked if name not in repaired]
    if not asked:
        return f"PEFT has no default target modules for {model}, so the run stops"
    if not missing:
        return f"the layers of {model} are named differently"
    subject = ", ".join(f"`{name}`" for name in missing)
    return f"{model} has no {subject}: without a match PEFT trains fewer layers than asked for, or stops"
