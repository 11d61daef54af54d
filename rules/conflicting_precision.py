"""`fp16` and `bf16` at the same time."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option
from kaitoc.rules._problems import STOPS

CODE = "KT430"
NAME = "conflicting-precision"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when both half-precision types are asked for."""
    option = flag_option(job, "TrainingArguments", "fp16")
    if option is None or flag_option(job, "TrainingArguments", "bf16") is None:
        return
    yield Fault(
        job.place_of(option),
        f"`fp16` and `bf16` are both true; at most one may be: {STOPS}",
        help="write `fp16: false`; bfloat16 needs no loss scaling and every GPU since Ampere has it",
        fix=setting_fix(job, "TrainingArguments", "fp16", False, "Turn `fp16` off", Applicability.UNSAFE),
    )
