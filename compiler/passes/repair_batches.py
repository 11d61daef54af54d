"""Take batches apart where the release cannot pad them, and accumulate gradients instead."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import batch_size_of
from kaitoc.compiler.job.repairs import can_pad_batches, evaluates_at_all
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_batch, set_to

NAME = "repair-batches"

_DEFAULT_EVAL_BATCH = 8


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield a batch of one at the same effective batch, for training and for evaluation."""
    if not job.is_parsable or can_pad_batches(job):
        return
    reason = (
        f"TRL {job.release.trl} of {job.release.name} hands Kaito's collator labels of different lengths, which it "
        "cannot pad: any batch size above 1 fails"
    )
    batch = batch_size_of(job)
    accumulation = job.integer("TrainingArguments", "gradient_accumulation_steps", 1)
    if batch > 1:
        yield set_batch(job, 1, batch * accumulation, reason, Preserves.INTENT)
    if (
        evaluates_at_all(job)
        and job.integer("TrainingArguments", "per_device_eval_batch_size", _DEFAULT_EVAL_BATCH) > 1
    ):
        yield set_to(job, "TrainingArguments", "per_device_eval_batch_size", 1, reason, Preserves.INTENT)
