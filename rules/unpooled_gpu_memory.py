"""A run that would need the memory of several GPUs, each of which gets a whole copy."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, verdict_of
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Verdict
from kaitoc.rules._instances import has_removed_gpu
from kaitoc.rules._memory import as_split, gpu_place

CODE = "KT509"
NAME = "unpooled-gpu-memory"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    predicted = footprint_of(job)
    if predicted is None or job.gpu is None or job.num_gpus < 2 or has_removed_gpu(job):
        return
    if predicted.sharding.is_sharded:
        return
    gpu = job.gpu.value
    if verdict_of(job) is not Verdict.DOES_NOT_FIT or predicted.device_bytes > gpu.memory_bytes * job.num_gpus:
        return
    yield Fault(
        gpu_place(job),
        f"the {job.num_gpus} GPUs have {gib(gpu.memory_bytes * job.num_gpus)} GiB together, but each holds a copy "
        f"of the model: {gib(predicted.device_bytes)} GiB do not fit in the {gib(gpu.memory_bytes)} of one",
        help=f"more GPUs only multiply the batch; use an instance type with larger ones, or QLoRA{_sharded(job)}",
    )


def _sharded(job: Job) -> str:
    """Describe each GPU's need if they sharded the model and it then fits; Kaito's image cannot shard."""
    predicted = as_split(job)
    if predicted is None or job.gpu is None:
        return ""
    if verdict(predicted, job.gpu.value, job.assumptions.margin) is not Verdict.FITS:
        return ""
    return f"; `kaitoc run --sharding fsdp2` splits it: {gib(predicted.device_bytes)} GiB for each"
