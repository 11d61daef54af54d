"""How many nodes Kaito gives a model: what its estimator computes (pkg/workspace/estimator/nodesestimator)."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.catalog.releases import serving_traits
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import GIB

DEFAULT_LENGTH_TOKENS = 2048
"""The context that the estimator takes where its scan of the ConfigMap finds none."""


@dataclass(frozen=True, slots=True)
class NodeEstimate:
    """What Kaito's estimator makes of a model on an instance type.

    `num_nodes` is None where it refuses, as a GPU holds less than what it sets aside: `reserved_bytes`. `length_tokens`
    is the context that it counts with, whose KV cache it divides by the GPUs of one node.
    """

    num_nodes: int | None
    length_tokens: int
    reserved_bytes: int
    available_bytes: int


def estimate_nodes(
    release: str, instance: InstanceType, checkpoint_bytes: int, kv_bytes_per_token: int, length_tokens: int | None
) -> NodeEstimate | None:
    """Return Kaito's estimate, None for a release whose estimator is not known (before v0.10) or without GPUs."""
    traits = serving_traits(release)["node_estimate"]
    if traits is None or not instance.num_gpus:
        return None
    length = length_tokens or DEFAULT_LENGTH_TOKENS
    per_gpu = instance.total_gib * GIB / instance.num_gpus
    available = per_gpu * traits["utilization"]
    reserved = traits["base_overhead_gib"] * GIB + length * kv_bytes_per_token / instance.num_gpus
    if available <= reserved:
        return NodeEstimate(None, length, int(reserved), int(available))
    per_gpu_weights = (available - reserved) / (1 + traits["overhead_weight_factor"])
    num_gpus = int(checkpoint_bytes * traits["weight_factor"] / per_gpu_weights) + 1
    return NodeEstimate(-(-num_gpus // instance.num_gpus), length, int(reserved), int(available))
