"""What fits: the longest context, the most requests at once, the fewest GPUs, the instance types."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, all_instance_types
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.kaito.node_layout import node_layout
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.pool import largest_length
from kaitoc.compiler.memory.serving.workload import ServingError, ServingWorkload

_MOST_RANKS = 8
"""GPUs of a node that share a model."""
_MOST_STAGES = 16


class SolvedServing(str, Enum):
    """What can be asked for."""

    LENGTH = "max-model-len"
    CONCURRENCY = "concurrency"
    GPUS = "gpus"
    INSTANCE = "instance"


def longest_that_fits(workload: ServingWorkload, gpu: Gpu | None, margin: float) -> int:
    """Return the longest context with which the verdict is "fits", 0 for none."""
    limit = workload.model.max_length_tokens or workload.length_limit_tokens

    def is_too_long(length: int) -> int:
        return int(not _fits(replace(workload, max_length_tokens=length), gpu, margin))

    return largest_length(limit, 0, is_too_long)


def fewest_gpus(workload: ServingWorkload, gpu: Gpu, margin: float) -> ServingWorkload | None:
    """Return the layout with the fewest GPUs that fits: ranks of one node first, then stages of eight ranks."""
    layouts = [(1 << power, 1) for power in range(_MOST_RANKS.bit_length())]
    layouts += [(_MOST_RANKS, stages) for stages in range(2, _MOST_STAGES + 1)]
    for ranks, stages in layouts:
        laid_out = replace(workload, tensor_parallel=ranks, pipeline_parallel=stages, data_parallel=1)
        if _fits(laid_out, gpu, margin):
            return laid_out
    return None


def instances_that_fit(
    workload: ServingWorkload, checkpoint_bytes: int | None, margin: float, *, has_replicas: bool
) -> Iterator[tuple[InstanceType, ServingFootprint]]:
    """Yield the instance types of which one node fits, laid out as Kaito does, those with the least memory first."""
    known = [
        instance for instance in all_instance_types() if instance.gpu is not None and instance.last_release is None
    ]
    for instance in sorted(known, key=lambda instance: (instance.total_gib, instance.name)):
        layout = node_layout(instance, checkpoint_bytes, has_replicas=has_replicas)
        laid_out = replace(workload, tensor_parallel=layout.ranks, data_parallel=layout.replicas, pipeline_parallel=1)
        if _fits(laid_out, instance.gpu, margin):
            yield instance, serving_footprint(laid_out, instance.gpu, margin)


def _fits(workload: ServingWorkload, gpu: Gpu | None, margin: float) -> bool:
    try:
        return serving_footprint(workload, gpu, margin).verdict is Verdict.FITS
    except ServingError:
        return False
