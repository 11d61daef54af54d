"""The time and the cost of one pass over the data."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Workload, WorkloadError

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the data, every sample as long as the estimate's sequences.

    `usd` is None where no price of the instance type is stated.
    """

    num_samples: int
    tokens_per_second: float
    hours: float
    usd: float | None


def epoch_of(
    workload: Workload, gpu: Gpu, num_samples: int, *, accumulation_steps: int = 1, usd_per_hour: float | None = None
) -> Epoch:
    """Return the time and the cost of an epoch; raises `WorkloadError` for shards, whose speed is not predicted."""
    if workload.sharding.is_sharded:
        raise WorkloadError("the speed of a sharded run is not predicted; leave --samples out")
    speed = throughput(workload, gpu, accumulation_steps=accumulation_steps).tokens_per_second
    num_tokens = num_samples * workload.rows_per_example * workload.seq_len_tokens
    hours = num_tokens / speed / _SECONDS_PER_HOUR
    return Epoch(num_samples, speed, hours, hours * usd_per_hour if usd_per_hour is not None else None)
