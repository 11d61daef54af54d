"""Settings that would serve a job better: rules advise them and passes write them, so that both say the same."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, footprint_of, needs, workload_of
from kaitoc.compiler.job.possible import instance_type_of
from kaitoc.compiler.job.repairs import can_pad_batches
from kaitoc.compiler.memory.closed_form.footprint import fits
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.workload import Dtype, Quantization, Workload, WorkloadError

_ARGUMENTS = "TrainingArguments"
_ROOMY_SHARE = 0.7
"""Checkpointing is needless where a run without it fills at most this share of the GPU."""
_IDLE_SHARE = 0.4
"""A GPU is idle that a batch of one fills at most this much."""
_LARGEST_BATCH = 64
_WORTHWHILE = 0.1
"""The share of time that a change must save to be advised."""


@dataclass(frozen=True, slots=True)
class Gain:
    """A predicted gain of speed, in tokens per second of all GPUs."""

    tokens_per_second: float
    tokens_per_second_then: float


def without_checkpointing(job: Job) -> Footprint | None:
    """Return the footprint without gradient checkpointing, None where it is off already or memory would be short."""
    workload = workload_of(job)
    if workload is None or job.gpu is None or not workload.gradient_checkpointing or footprint_of(job) is None:
        return None
    if workload.quantization is not Quantization.NONE:
        return None
    gpu = job.gpu.value
    without = replace(workload, gradient_checkpointing=False)
    footprint = needs(without, gpu)
    if footprint is None or not _fits(job, without, gpu) or footprint.high_bytes > gpu.memory_bytes * _ROOMY_SHARE:
        return None
    return footprint


def length_grouping(job: Job) -> tuple[str, bool | str] | None:
    """Return the option and value that put sequences of like length together; None where that saves no padding."""
    if not job.is_parsable or not can_pad_batches(job) or job.flag(_ARGUMENTS, "packing"):
        return None
    if job.integer(_ARGUMENTS, "per_device_train_batch_size", 8) < 2:
        return None
    parse = job.parsed.get(_ARGUMENTS)
    names = tuple(parse.values) if parse is not None else ()
    name = next((name for name in ("group_by_length", "train_sampling_strategy") if name in names), "")
    if not name or job.value(_ARGUMENTS, name) in (True, "group_by_length"):
        return None
    return name, True if name == "group_by_length" else "group_by_length"


def bfloat16_gain(job: Job) -> Gain | None:
    """Predict a full-precision job's speed-up in bfloat16, None when it is not worthwhile."""
    workload = workload_of(job)
    if workload is None or workload.autocast is not None or job.gpu is None or not job.gpu.value.has_bf16:
        return None
    return _gain(job, workload, replace(workload, autocast=Dtype.BFLOAT16), accumulation_steps_of(job))


def largest_idle_batch(job: Job) -> tuple[int, Gain] | None:
    """Return the batch that would use an idle GPU, None where it is not worthwhile.

    Where a job accumulates, the batch divides its accumulation steps, so that the effective batch stays.
    """
    workload, predicted = workload_of(job), footprint_of(job)
    if workload is None or predicted is None or job.gpu is None or workload.batch_size > 1 or not can_pad_batches(job):
        return None
    gpu, steps = job.gpu.value, accumulation_steps_of(job)
    if predicted.high_bytes > gpu.memory_bytes * _IDLE_SHARE:
        return None
    from kaitoc.compiler.memory.solve import SolvedSize, largest  # few GPUs are idle

    room = largest(workload, SolvedSize.BATCH, gpu, job.assumptions.margin)
    sizes = [size for size in range(2, steps + 1) if steps % size == 0] if steps > 1 else range(4, _LARGEST_BATCH + 1)
    batch = max((size for size in sizes if size <= room), default=1)
    larger = replace(workload, batch_size=batch)
    gain = _gain(job, workload, larger, max(1, steps // batch)) if batch > 1 else None
    return (batch, gain) if gain is not None else None


def _gain(job: Job, workload: Workload, other: Workload, accumulation_steps: int) -> Gain | None:
    if job.gpu is None:
        return None
    from kaitoc.compiler.job.speed import seconds_per_token  # the model of speed, for the few jobs that get this far

    gpu, instance = job.gpu.value, instance_type_of(job)
    now = seconds_per_token(workload, gpu, job.num_gpus, accumulation_steps_of(job), instance)
    then = seconds_per_token(other, gpu, job.num_gpus, accumulation_steps, instance)
    return Gain(1 / now, 1 / then) if then <= now * (1 - _WORTHWHILE) else None


def _fits(job: Job, workload: Workload, gpu: Gpu) -> bool:
    try:
        return fits(workload, gpu, job.assumptions.margin)
    except WorkloadError:
        return False
