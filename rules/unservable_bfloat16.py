"""A GPU without bfloat16, in which Kaito serves models that are not quantized."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import gpu_of
from kaitoc.rules._serving import STOPS
from kaitoc.rules._serving_memory import gpu_place

_OTHERS = ("half", "float16", "float", "float32")

CODE = "KT746"
NAME = "unservable-bfloat16"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a server on a GPU before Ampere whose config names no other type."""
    gpu = gpu_of(job) if job.is_listed else None
    if gpu is None or gpu.has_bf16 or not job.uses_vllm or not job.parsed.is_accepted or job.served is None:
        return
    served = job.parsed.values.get("dtype")
    if (served is not None and served.value in _OTHERS) or job.served.config.get("quantization_config") is not None:
        return
    message = f"{gpu.name} has no bfloat16, in which Kaito serves {job.served.name}; {STOPS}"
    yield Fault(gpu_place(job), message, help="write `dtype: half`, or use an Ampere or later GPU")
