"""From a job to its predicted speed."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, workload_of
from kaitoc.compiler.memory.throughput.speed import Throughput, throughput
from kaitoc.compiler.memory.workload import Workload, WorkloadError


def throughput_of(job: Job) -> Throughput | None:
    """Return a job's predicted speed on all its GPUs, None when its model or GPU is unknown."""
    workload = workload_of(job)
    if workload is None or job.gpu is None:
        return None
    try:
        return throughput(workload, job.gpu.value, job.num_gpus, accumulation_steps=accumulation_steps_of(job))
    except WorkloadError:
        return None


def seconds_per_token(workload: Workload, gpu: Gpu, num_gpus: int, accumulation_steps: int) -> float:
    """Return the predicted time per trained token, infinite for a step that no run can have."""
    try:
        predicted = throughput(workload, gpu, num_gpus, accumulation_steps=accumulation_steps)
    except WorkloadError:
        return float("inf")
    return 1.0 / predicted.tokens_per_second
