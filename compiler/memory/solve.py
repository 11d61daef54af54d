"""The largest batch, sequence or rank that fits, by bisection over the closed form."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.closed_form.footprint import fits
from kaitoc.compiler.memory.workload import Workload, WorkloadError

_MAX_BATCH = 4096
_MAX_TOKENS = 1 << 20


class SolvedSize(str, Enum):
    """What can be made larger or smaller."""

    BATCH = "batch"
    SEQ_LEN = "seq-len"
    RANK = "rank"


def resized(workload: Workload, dimension: SolvedSize, value: int) -> Workload:
    """Return a workload with another batch size, sequence length or rank; raises `WorkloadError` without adapter."""
    if dimension is SolvedSize.BATCH:
        return replace(workload, batch_size=value * workload.rows_per_example)
    if dimension is SolvedSize.SEQ_LEN:
        return replace(workload, seq_len_tokens=value)
    if workload.lora is None:
        raise WorkloadError("full fine-tuning has no rank")
    return replace(workload, lora=replace(workload.lora, rank=value))


def upper_bound(workload: Workload, dimension: SolvedSize) -> int:
    """Return the largest value that makes sense: the model's length, a rank of the smaller side of a layer."""
    architecture = workload.architecture
    if dimension is SolvedSize.BATCH:
        return _MAX_BATCH
    if dimension is SolvedSize.RANK:
        return architecture.hidden_size
    return architecture.max_position_embeddings or _MAX_TOKENS


def largest(workload: Workload, dimension: SolvedSize, gpu: Gpu, margin: float) -> int:
    """Return the largest value of a dimension with which the workload fits a GPU, 0 when none does.

    What is allocated grows with each dimension, so bisection finds it in a dozen calls. What is reserved can fall by a
    few percent in a full fine-tune; a still larger value may fit then, and the one that is returned does.
    """

    def holds(value: int) -> bool:
        return fits(resized(workload, dimension, value), gpu, margin)

    return bisect_last(holds, upper_bound(workload, dimension))


def bisect_last(holds: Callable[[int], bool], limit: int) -> int:
    """Return the last of 1..limit for which a condition holds that holds up to some point, 0 when it never does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
