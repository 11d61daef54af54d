"""The time and the cost of one pass over the data."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.throughput.rates import full_gpu_slowdown
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Workload

_SECONDS_PER_HOUR = 3600
_NEARLY_FULL = "the GPU is nearly full: PyTorch may have to free and reallocate memory in each step"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the data, every sample as long as the estimate's sequences.

    `tokens_per_second` lies between the low and the high one; `assumptions` say why they differ, beside what
    collectives may hide behind. `usd` is None where no price of the instance type is stated.
    """

    num_samples: int
    tokens_per_second: float
    low_tokens_per_second: float
    high_tokens_per_second: float
    assumptions: tuple[str, ...]
    hours: float
    usd: float | None


def epoch_of(
    workload: Workload,
    gpu: Gpu,
    num_samples: int,
    predicted: Footprint,
    *,
    accumulation_steps: int = 1,
    usd_per_hour: float | None = None,
    instance: InstanceType | None = None,
) -> Epoch:
    """Return the time and the cost of an epoch on all GPUs of a workload, of which each needs what is `predicted`.

    `usd_per_hour` is the price of all machines. Raises `WorkloadError` for a workload that no run can have.
    """
    speed = throughput(workload, gpu, accumulation_steps=accumulation_steps, instance=instance)
    num_tokens = num_samples * workload.rows_per_example * workload.seq_len_tokens
    hours = num_tokens / speed.tokens_per_second / _SECONDS_PER_HOUR
    is_nearly_full = predicted.high_bytes > gpu.memory_bytes
    return Epoch(
        num_samples,
        speed.tokens_per_second,
        speed.low_tokens_per_second / (full_gpu_slowdown() if is_nearly_full else 1.0),
        speed.high_tokens_per_second,
        (*speed.assumptions, *([_NEARLY_FULL] if is_nearly_full else [])),
        hours,
        hours * usd_per_hour if usd_per_hour is not None else None,
    )
