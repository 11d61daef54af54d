"""A `lora_dropout` that is not a probability below 1."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import AFTER_LOADING, written_number
from kaitoc.rules._whole_layers import trains_whole_layers

CODE = "KT434"
NAME = "dropout-out-of-range"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"

_ALL = 1 - 1e-7
"""A share that leaves less than one activation of a step."""


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when the probability of dropping an activation is negative, or 1 and more."""
    written = written_number(job, "LoraConfig", "lora_dropout")
    if written is None or 0 <= written.value < _ALL:
        return
    if written.value > 1:
        effect, severity = f"is not a probability: torch rejects it and {AFTER_LOADING}", Severity.ERROR
    elif written.value > 0:
        effect = "drops all of the adapter's input, so it is not trained"
        severity = Severity.WARNING if trains_whole_layers(job) else Severity.ERROR
    else:
        effect, severity = "counts as 0: PEFT only checks whether it is above 0", Severity.WARNING
    yield Fault(
        job.place_of(written.option),
        f"`lora_dropout: {written.text}` {effect}",
        help="write a probability below 1, such as 0.05",
        severity=severity,
    )
