"""An adapter on `lm_head`, which this release's loss bypasses."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING
from kaitoc.rules._sft import option_with_head

CODE = "KT424"
NAME = "adapted-lm-head"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the output layer is among the modules that get an adapter."""
    written = option_with_head(job, "target_modules")
    if written is not None:
        option, remaining = written
        yield Fault(
            job.place_of(option),
            f"TRL {job.release.trl} of {job.release.name} computes the loss from `lm_head.weight` itself and "
            f"refuses an adapter on `lm_head`: {AFTER_LOADING}",
            help="add `loss_type: nll`, which needs more memory, or remove `lm_head` from `target_modules`",
            fix=_fix(job, remaining),
        )


def _fix(job: Job, remaining: list[str]) -> Fix | None:
    if not remaining:
        return None
    return setting_fix(
        job, "LoraConfig", "target_modules", remaining, "Remove `lm_head` from `target_modules`", Applicability.UNSAFE
    )
