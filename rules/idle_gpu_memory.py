"""A batch of one where many would fit."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.advice import largest_idle_batch
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, footprint_of
from kaitoc.rules._memory import option_place

CODE = "KT601"
NAME = "idle-gpu-memory"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    larger, predicted = largest_idle_batch(job), footprint_of(job)
    if larger is None or predicted is None or job.gpu is None:
        return
    batch, gain = larger
    accumulates = accumulation_steps_of(job) > 1
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"a batch of 1 uses {gib(predicted.device_bytes)} of {gib(job.gpu.value.memory_bytes)} GiB; a batch of {batch} "
        f"fits and trains at {gain.tokens_per_second_then:,.0f} tokens/s instead of {gain.tokens_per_second:,.0f}",
        help=(
            "accumulate fewer steps of a larger batch, as `kaitoc compile --goal throughput` does"
            if accumulates
            else "raise the batch; adjust the learning rate if needed"
        ),
    )
