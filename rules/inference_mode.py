"""`inference_mode: true`, which freezes the adapter."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option
from kaitoc.rules._whole_layers import trains_whole_layers

CODE = "KT426"
NAME = "inference-mode"
SEVERITY = Severity.ERROR
FIX = Applicability.SAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when adapters are frozen."""
    option = flag_option(job, "LoraConfig", "inference_mode")
    if option is None:
        return
    is_all = not trains_whole_layers(job)
    effect = (
        "every gradient is zero, and the run reports success with an adapter that changes nothing"
        if is_all
        else "only `modules_to_save` is trained"
    )
    yield Fault(
        job.place_of(option),
        f"`inference_mode: true` freezes the adapter: {effect}",
        help="write false, or leave it out",
        severity=Severity.ERROR if is_all else Severity.WARNING,
        fix=setting_fix(job, "LoraConfig", "inference_mode", False, "Turn `inference_mode` off", Applicability.SAFE),
    )
