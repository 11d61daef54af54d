"""`remove_unused_columns: false`, which lets text reach the collator."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import is_on_kaito

CODE = "KT429"
NAME = "kept-unused-columns"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when columns of text stay in the data."""
    option = job.option("TrainingArguments", "remove_unused_columns")
    is_off = job.value("TrainingArguments", "remove_unused_columns") is False
    if option is None or not is_off or not is_on_kaito(job):
        return
    yield Fault(
        job.place_of(option),
        "with `remove_unused_columns: false` text columns stay in each batch, and Kaito's collator cannot turn them "
        "into tensors: the first step stops",
        help="leave it out; the default is true",
        fix=setting_fix(
            job, "TrainingArguments", "remove_unused_columns", True, "Remove unused columns", Applicability.SAFE
        ),
    )
