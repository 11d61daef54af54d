"""A padding option that never reaches Kaito's own collator."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import removal
from kaitoc.rules._hazards import uses_sft_config

CODE = "KT453"
NAME = "ignored-padding-option"
SEVERITY = Severity.WARNING
FIX = Applicability.SAFE
SINCE = "0.1.0"

_NAMES = ("pad_token", "pad_to_multiple_of")


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for each option that TRL only hands to a collator of its own."""
    if not uses_sft_config(job):
        return
    for name in _NAMES:
        option = job.option("TrainingArguments", name)
        if option is None:
            continue
        instead = "write it under DataCollator" if name == "pad_to_multiple_of" else "leave it out"
        yield Fault(
            job.place_of(option),
            f"`{name}` has no effect under TrainingArguments: TRL passes it to its own collator, which Kaito replaces",
            help=instead,
            fix=removal(job, option, Applicability.SAFE),
        )
