"""Checkpoint without reentry where reentrant checkpointing would leave frozen layers without gradients."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.job.memory import quantization_of, stack_of
from kaitoc.compiler.memory.workload import Quantization
from kaitoc.compiler.passes.model import Change, PassContext, Preserves
from kaitoc.compiler.passes.options import set_to

NAME = "repair-checkpointing"

_SECTION, _KWARGS = "TrainingArguments", "gradient_checkpointing_kwargs"


def run(job: Job, _: PassContext) -> Iterator[Change]:
    """Yield the keyword that turns reentry off, where a release's Trainer checkpoints with it.

    Reentrant checkpointing recomputes a layer only for inputs that need gradients, which those of a frozen base do
    not; for quantized ones `prepare_model_for_kbit_training` makes them need one. Recorded for v0.10 in tests/oracle.
    """
    is_affected = job.target is Target.KAITO and stack_of(job).reentrant_checkpointing
    if not is_affected or not job.flag(_SECTION, "gradient_checkpointing"):
        return
    if quantization_of(job) is not Quantization.NONE or job.option(_SECTION, _KWARGS) is not None:
        return
    reason = (
        f"{job.release.name} uses reentrant checkpointing, which leaves frozen layers without gradients: the job stops"
    )
    yield set_to(job, _SECTION, _KWARGS, '{"use_reentrant": false}', reason, Preserves.INTENT)
