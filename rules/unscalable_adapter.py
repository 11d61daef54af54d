"""`fp16: true` with an adapter in half precision, whose gradients cannot be scaled."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Applicability, Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.rules._conditions import ARGUMENTS, adapter_dtype, stage_effect
from kaitoc.rules._fixes import setting_fix
from kaitoc.rules._hazards import flag_option, is_on_kaito

CODE = "KT468"
NAME = "unscalable-adapter"
SEVERITY = Severity.ERROR
FIX = Applicability.UNSAFE
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when PyTorch's gradient scaler meets gradients that are not float32."""
    option = flag_option(job, ARGUMENTS, "fp16")
    dtype = adapter_dtype(job)
    if option is None or dtype == "float32" or not is_on_kaito(job) or job.flag(ARGUMENTS, "bf16"):
        return
    raises = "refuses float16 gradients" if dtype == "float16" else "has no kernel for bfloat16 gradients"
    yield Fault(
        job.place_of(option),
        f"the adapter is {dtype}, and the gradient scaler of `fp16: true` {raises}; {stage_effect('step')}",
        help="leave `fp16` out and train in bfloat16, or load the weights with `torch_dtype: float32`",
        fix=setting_fix(job, ARGUMENTS, "fp16", False, "Turn `fp16` off", Applicability.UNSAFE),
    )
