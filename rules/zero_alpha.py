"""A `lora_alpha` of zero, which scales the adapter to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._hazards import written_number
from kaitoc.rules._whole_layers import trains_whole_layers

CODE = "KT455"
NAME = "zero-alpha"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    written = written_number(job, "LoraConfig", "lora_alpha")
    if written is None or written.value != 0:
        return
    is_all = not trains_whole_layers(job)
    effect = (
        "the run reports success with an adapter that has no effect" if is_all else "only `modules_to_save` is trained"
    )
    yield Fault(
        job.place_of(written.option),
        f"`lora_alpha: 0` scales the adapter to nothing: every gradient is zero, and {effect}",
        help="write the rank, as Kaito's templates do, or twice the rank",
        severity=Severity.ERROR if is_all else Severity.WARNING,
    )
