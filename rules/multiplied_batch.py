"""An effective batch that the number of GPUs multiplies."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._memory import option_place

CODE = "KT602"
NAME = "multiplied-batch"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if job.num_gpus < 2 or not job.is_parsable:
        return
    batch = job.integer("TrainingArguments", "per_device_train_batch_size", 8)
    accumulation = job.integer("TrainingArguments", "gradient_accumulation_steps", 1)
    total = batch * accumulation * job.num_gpus
    accumulated = f", {accumulation} of them accumulated" if accumulation > 1 else ""
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"{job.num_gpus} GPUs with batches of {batch}{accumulated}: an optimizer step covers {total} sequences",
        help="if a smaller batch was intended, divide it by the number of GPUs; otherwise raise the learning rate",
    )
