"""No `target_modules` on a model for which the release has no default."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.core.wording import join_names
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import targets_of
from kaitoc.compiler.job.repairs import (
    repaired_targets,
)
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING, is_on_kaito

CODE = "KT402"
NAME = "missing-target-modules"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when adapters have no place: nothing is written and PEFT has no default for the model."""
    is_written = job.option("LoraConfig", "target_modules") is not None
    if not is_on_kaito(job) or not job.parsed or job.model is None or is_written or targets_of(job):
        return
    names = repaired_targets(job)
    if names is None:
        return
    yield Fault(
        job.section_place("LoraConfig"),
        f"`target_modules` is not set, and PEFT {job.release.peft} of {job.release.name} has no default for "
        f"{job.model.value.name}: {AFTER_LOADING}",
        help=_help(job, names),
        fix=setting_fix(
            job, "LoraConfig", "target_modules", list(names), f"Train {join_names(names)}", Applicability.SAFE
        ),
    )


def _help(job: Job, names: tuple[str, ...]) -> str:
    listed = ", ".join(names)
    if job.uses_template:
        return f"Kaito's default template cannot train it: write a ConfigMap with `target_modules: [{listed}]`"
    return f"write `target_modules: [{listed}]`"
