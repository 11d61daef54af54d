"""A trained copy of `lm_head`, which this release's loss cannot read."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import removal, setting_fix
from kaitoc.rules._sft import option_with_head

CODE = "KT425"
NAME = "saved-lm-head"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the output layer is among the modules that are trained whole."""
    written = option_with_head(job, "modules_to_save")
    if written is not None:
        option, remaining = written
        yield Fault(
            job.place_of(option),
            f"`modules_to_save` wraps `lm_head`, and TRL {job.release.trl} of {job.release.name} reads its weight for "
            "the loss: an AttributeError in the first step",
            help="add `loss_type: nll`, which needs more memory, or remove `lm_head` from `modules_to_save`",
            fix=_fix(job, option, remaining),
        )


def _fix(job: Job, option: Option, remaining: list[str]) -> Fix | None:
    if not remaining:
        return removal(job, option, Applicability.UNSAFE)
    return setting_fix(job, "LoraConfig", "modules_to_save", remaining, "Do not train `lm_head`", Applicability.UNSAFE)
