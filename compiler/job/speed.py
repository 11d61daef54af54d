"""From a job to its predicted speed, and the price of its hours."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, workload_of
from kaitoc.compiler.job.possible import instance_type_of
from kaitoc.compiler.memory.throughput.speed import Throughput, throughput
from kaitoc.compiler.memory.workload import Workload, WorkloadError


def throughput_of(job: Job) -> Throughput | None:
    """Return a job's predicted speed on all its GPUs, None when its model or GPU is unknown."""
    return throughput_on(job, job.gpu.value, job.num_gpus, instance_type_of(job)) if job.gpu is not None else None


def throughput_on(job: Job, gpu: Gpu | None, num_gpus: int, instance: InstanceType | None) -> Throughput | None:
    """Return a job's predicted speed as it would be on other GPUs, None when its model is unknown."""
    workload = workload_of(job)
    if workload is None or gpu is None:
        return None
    try:
        return throughput(workload, gpu, num_gpus, accumulation_steps=accumulation_steps_of(job), instance=instance)
    except WorkloadError:
        return None


def price_of(job: Job) -> float | None:
    """Return the price of an hour of a job's instance type in USD, None where none is stated."""
    return job.assumptions.prices.of(instance_type_of(job))


def seconds_per_token(
    workload: Workload, gpu: Gpu, num_gpus: int, accumulation_steps: int, instance: InstanceType | None
) -> float:
    """Return the predicted time per trained token, infinite for a step that no run can have."""
    try:
        predicted = throughput(workload, gpu, num_gpus, accumulation_steps=accumulation_steps, instance=instance)
    except WorkloadError:
        return float("inf")
    return 1.0 / predicted.tokens_per_second
