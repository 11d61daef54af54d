"""How Kaito lays a model out on the GPUs of one node (`configureParallelism` in pkg/model/interface.go)."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import GIB


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """How many GPUs share a model, and how many copies of it there are."""

    ranks: int
    replicas: int


def takes_replicas(instance: InstanceType, checkpoint_bytes: int) -> bool:
    """Return whether a model's files take less than half of one of the GPUs (`modelFitsOnSingleGPU`)."""
    return checkpoint_bytes < instance.total_gib * GIB / max(1, instance.num_gpus) / 2


def node_layout(instance: InstanceType, checkpoint_bytes: int | None, *, has_replicas: bool) -> NodeLayout:
    """Return a copy per GPU for a model whose files take less than half of one, else one over all of them.

    `has_replicas` says that the release knows copies (since v0.10).
    """
    num_gpus = max(1, instance.num_gpus)
    if has_replicas and checkpoint_bytes is not None and takes_replicas(instance, checkpoint_bytes):
        return NodeLayout(1, num_gpus)
    return NodeLayout(num_gpus, 1)
