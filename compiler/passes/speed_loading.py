"""Keep the GPU from waiting: batches collated beside its work, sequences of like length together, fast products."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.advice import bfloat16_gain, length_grouping
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import weight_dtype_of
from kaitoc.compiler.memory.workload import Dtype
from kaitoc.compiler.passes.model import Change, Goal, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "speed-loading"

_SECTION = "TrainingArguments"
_WORKERS = 2


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield what speeds a run up at no cost of memory, where speed is the goal."""
    if context.goal not in (Goal.THROUGHPUT, Goal.COST) or not job.is_parsable:
        return
    for change in (*_workers(job), *_grouping(job), *(list(_bfloat16(job)) or _tf32(job))):
        if context.preserve.allows(change.preserves):
            yield change


def _workers(job: Job) -> Iterator[Change]:
    if job.option(_SECTION, "dataloader_num_workers") is None:
        reason = "worker processes prepare the batches while the GPU computes; their order stays the same"
        yield set_to(job, _SECTION, "dataloader_num_workers", _WORKERS, reason, Preserves.EXACT)


def _grouping(job: Job) -> Iterator[Change]:
    """Group by length where that saves padding and the manifest does not say otherwise."""
    grouping = length_grouping(job)
    if grouping is not None and job.option(_SECTION, grouping[0]) is None:
        reason = "batches of similar lengths need less padding; samples come in a different random order"
        yield set_to(job, _SECTION, *grouping, reason, Preserves.STATISTICAL)


def _bfloat16(job: Job) -> Iterator[Change]:
    """Compute in bfloat16 where float32 is only the release's default and slower."""
    if bfloat16_gain(job) is not None and all(job.option(_SECTION, name) is None for name in ("bf16", "fp16")):
        reason = f"the default is false in {job.release.name}; products in bfloat16 are faster than in float32"
        yield set_to(job, _SECTION, "bf16", True, reason, Preserves.STATISTICAL)


def _tf32(job: Job) -> Iterator[Change]:
    computes_in_float32 = weight_dtype_of(job) is Dtype.FLOAT32 and not job.flag(_SECTION, "bf16")
    has_tf32 = job.gpu is not None and job.gpu.value.tf32_flops > 0
    if computes_in_float32 and has_tf32 and job.option(_SECTION, "tf32") is None:
        reason = "float32 products run on tensor cores with 10 bits of mantissa and float32 sums"
        yield set_to(job, _SECTION, "tf32", True, reason, Preserves.STATISTICAL)
