"""From a job to how its trainer makes batches of the data's rows."""

from __future__ import annotations

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, pads
from kaitoc.compiler.memory.batches import Batching, Loading


def loading_of(job: Job) -> Loading:
    """Resolve how a job's rows become batches: packing, grouping, accumulation and padding."""
    section = "TrainingArguments"
    groups = job.flag(section, "group_by_length") or job.value(section, "train_sampling_strategy") == "group_by_length"
    batching = Batching.GROUPED if groups else Batching.RANDOM
    return Loading(
        batching if pads(job) else Batching.PACKED,
        accumulation_steps_of(job),
        max(1, job.integer("DataCollator", "pad_to_multiple_of", 1)),
    )
