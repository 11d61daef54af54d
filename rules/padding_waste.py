"""Batches of sequences of any length, padded to the longest."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Fix, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.repairs import can_pad_batches
from kaitoc.compiler.manifest.config_edits import set_option
from kaitoc.rules._memory import option_place

CODE = "KT606"
NAME = "padding-waste"
SEVERITY = Severity.INFO
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    batch = job.integer("TrainingArguments", "per_device_train_batch_size", 8)
    if batch < 2 or not job.is_parsable or not can_pad_batches(job) or job.flag("TrainingArguments", "packing"):
        return
    key = next((name for name in ("group_by_length", "train_sampling_strategy") if name in _keys(job)), "")
    if not key or job.value("TrainingArguments", key) in (True, "group_by_length"):
        return
    wanted = True if key == "group_by_length" else "group_by_length"
    yield Fault(
        option_place(job, "TrainingArguments", "per_device_train_batch_size"),
        f"every batch of {batch} is padded to its longest sequence; grouping by length saves most of it",
        help=f"write `{key}: {str(wanted).lower()}`",
        fix=_fix(job, key, wanted),
    )


def _keys(job: Job) -> tuple[str, ...]:
    """Return the keys that TrainingArguments has in the job's release."""
    parse = job.parsed.get("TrainingArguments")
    return tuple(parse.values) if parse is not None else ()


def _fix(job: Job, key: str, value: object) -> Fix | None:
    if job.config is None or not job.config.is_editable:
        return None
    edit = set_option(job.config, "TrainingArguments", key, value)
    return Fix("Group sequences by length", Applicability.UNSAFE, (edit,))
