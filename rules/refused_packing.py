"""Packing or padding-free batches with Kaito's own collator."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.manifest.training_config import Option
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import AFTER_LOADING, flag_option, uses_sft_config

CODE = "KT427"
NAME = "refused-packing"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option with which TRL refuses the collator that Kaito always passes."""
    if not uses_sft_config(job):
        return
    packing = flag_option(job, "TrainingArguments", "packing")
    strategy = job.value("TrainingArguments", "packing_strategy")
    if packing is not None and strategy != "wrapped":
        yield _fault(job, packing, f"`packing: true` (strategy {strategy}) makes padding-free batches")
    padding_free = flag_option(job, "TrainingArguments", "padding_free")
    if padding_free is not None:
        yield _fault(job, padding_free, "`padding_free: true` makes batches without padding")


def _fault(job: Job, option: Option, makes: str) -> Fault:
    is_packing = option.name == "packing"
    return Fault(
        job.place_of(option),
        f"{makes}, which TRL refuses with Kaito's collator: {AFTER_LOADING}",
        help="leave it out"
        + (
            ", or add `packing_strategy: wrapped`, which lets documents attend to each other, and "
            "`per_device_train_batch_size: 1`"
            if is_packing
            else ""
        ),
        fix=setting_fix(
            job, "TrainingArguments", option.name, False, f"Turn `{option.name}` off", Applicability.UNSAFE
        ),
    )
