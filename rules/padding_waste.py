"""Batches of mixed lengths, padded to the longest sequence."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.advice import length_grouping
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.config_edits import set_option
from kaitoc.rules._memory import option_place

CODE = "KT606"
NAME = "padding-waste"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    grouping = length_grouping(job)
    if grouping is None:
        return
    key, value = grouping
    batch = job.integer("TrainingArguments", "per_device_train_batch_size", 8)
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"every batch of {batch} is padded to its longest sequence; grouping by length avoids most of it",
        help=f"write `{key}: {str(value).lower()}`, as `kaitoc compile --goal throughput` does",
        fix=_fix(job, key, value),
    )


def _fix(job: Job, key: str, value: object) -> Fix | None:
    if job.config is None or not job.config.is_editable:
        return None
    edit = set_option(job.config, "TrainingArguments", key, value)
    return Fix("Group sequences by length", Applicability.UNSAFE, (edit,))
