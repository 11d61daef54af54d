"""A batch of one where many would fit."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.job.repairs import can_pad_batches
from kaitoc.compiler.memory.solve import SolvedSize, largest
from kaitoc.rules._memory import option_place

CODE = "KT601"
NAME = "idle-gpu-memory"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"

SHARE = 0.4
SMALLEST_GAIN = 4
LARGEST_BATCH = 64


def check(job: Job) -> Iterator[Fault]:
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or job.gpu is None or workload.batch_size > 1 or not can_pad_batches(job):
        return
    gpu = job.gpu.value
    if predicted.high_bytes > gpu.memory_bytes * SHARE:
        return
    batch = min(largest(workload, SolvedSize.BATCH, gpu, job.assumptions.margin), LARGEST_BATCH)
    if batch < SMALLEST_GAIN:
        return
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"a batch of 1 uses {gib(predicted.device_bytes)} of {gib(gpu.memory_bytes)} GiB; {batch} would fit",
        help="a larger batch with less accumulation has the same effective batch; `kaitoc compile` picks one",
    )
