"""A sequence length above the model's own."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._memory import option_place

CODE = "KT512"
NAME = "length-above-model"
SEVERITY = Severity.WARNING
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    if job.model is None:
        return
    limit = job.model.value.max_position_embeddings
    length = job.integer("TrainingArguments", "max_length", 0)
    if limit <= 0 or length <= limit or not job.setting("TrainingArguments", "max_length").is_stated:
        return
    yield Fault(
        option_place(job, "TrainingArguments", "max_length"),
        f"`max_length: {length}` is above the {limit:,} positions that {job.model.value.name} was trained with",
        help=f"write at most {limit}: beyond that the model produces noise, or crashes if its positions are learned",
    )
