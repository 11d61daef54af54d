"""A number of attention heads that the GPUs of a node cannot share."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.manifest.objects import Place
from kaitoc.rules._serving import STOPS
from kaitoc.rules._serving_memory import gpu_place

CODE = "KT711"
NAME = "indivisible-heads"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: ServingJob) -> Iterator[Fault]:
    """Yield a layout, written or chosen by Kaito, that the model's heads or layers cannot be divided by."""
    fault = _fault_of_heads(job)
    if fault is None and job.uses_vllm and (reason := serving_memory(job).layout_fault):
        fault = Fault(gpu_place(job), f"{reason}; {STOPS}", help="use an instance type with fewer or larger GPUs")
    if fault is not None:
        yield fault


def _fault_of_heads(job: ServingJob) -> Fault | None:
    model = job.model.value if job.model is not None else None
    served = job.parsed.values.get("tensor-parallel-size")
    size = served.value if served is not None else None
    if model is None or not job.uses_vllm or not isinstance(size, int) or size < 2:
        return None
    heads, shared = model.num_heads, model.num_kv_heads
    is_split = heads % size == 0 and (shared % size == 0 or size % shared == 0)
    place = _place(job, served.index if served is not None else -1)
    if is_split or place is None:
        return None
    what = f"{heads} attention heads" if heads % size else f"{shared} key-value heads"
    whose = "`tensor-parallel-size`" if served is not None and served.index >= 0 else "Kaito's tensor parallelism"
    message = f"{whose} of {size} cannot split the {what} of {model.name}; {STOPS}"
    return Fault(place, message, help=f"use an instance type with {_gpus(_largest(heads, shared, size))}")


def _place(job: ServingJob, index: int) -> Place | None:
    if index >= 0:
        return job.option_at(index).value
    return job.instance.place if job.instance is not None else None


def _largest(heads: int, shared: int, size: int) -> int:
    fitting = [n for n in (1, 2, 4, 8) if n < size and heads % n == 0 and (shared % n == 0 or n % shared == 0)]
    return max(fitting, default=1)


def _gpus(number: int) -> str:
    return f"{number} GPUs" if number > 1 else "one GPU"
