"""A batch above one in a release that cannot pad it."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import batch_size_of
from kaitoc.compiler.job.repairs import (
    batch_values,
    can_pad_batches,
)
from kaitoc.compiler.manifest.config_edits import set_options
from kaitoc.rules._memory import option_place

CODE = "KT404"
NAME = "uncollatable-batch"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when a step takes several sequences and the release's collator cannot bring them to one length."""
    batch = batch_size_of(job)
    if not job.parsed or can_pad_batches(job) or batch <= 1:
        return
    steps = max(1, job.integer("TrainingArguments", "gradient_accumulation_steps", 1))
    is_written = job.option("TrainingArguments", "per_device_train_batch_size") is not None
    stated = f"a batch of {batch}" if is_written else f"`per_device_train_batch_size` is {batch} by default, and it"
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"{stated} cannot be padded: TRL {job.release.trl} of {job.release.name} hands Kaito's collator labels of "
        'different lengths, and the first step stops with "Unable to create tensor"',
        help=f"write `per_device_train_batch_size: 1` and `gradient_accumulation_steps: {batch * steps}`: "
        "the same effective batch",
        fix=_fix(job, batch * steps),
    )


def _fix(job: Job, effective: int) -> Fix | None:
    if job.config is None or not job.config.is_editable:
        return None
    edits = set_options(job.config, "TrainingArguments", batch_values(job, 1, effective))
    return Fix(f"Accumulate {effective} batches of 1", Applicability.SAFE, edits)
