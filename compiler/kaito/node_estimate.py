"""How many nodes Kaito gives a model: what its estimator computes.

It is pkg/workspace/estimator/nodesestimator, up to v0.9 advancednodesestimator, which computes the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.catalog.releases import serving_traits
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import GIB

DEFAULT_LENGTH_TOKENS = 2048
"""The context that the estimator takes where its scan of the ConfigMap finds none."""


_GO_INTEGER = re.compile(r"[+-]?[0-9]+")


def scanned_length(text: str) -> int | None:
    """Return the context that Kaito's estimator finds in an `inference_config.yaml`, None where it finds none.

    It reads lines, not YAML (`ParseExplicitMaxModelLen` in pkg/utils/config_parser.go), and stops at the first line
    under `vllm:` that begins with the key.
    """
    least_indent = -1
    for line in text.split("\n"):
        trimmed = line.strip()
        indent = len(line) - len(line.lstrip(" \t"))
        if least_indent < 0:
            least_indent = indent + 2 if trimmed.startswith("vllm:") else -1
            continue
        if trimmed and not trimmed.startswith("#") and indent < least_indent:
            return None
        if trimmed.startswith("max-model-len:"):
            value = trimmed.removeprefix("max-model-len:").strip()
            length = int(value) if _GO_INTEGER.fullmatch(value) and len(value) < _MOST_DIGITS else 0
            return length if length > 0 else None
    return None


_MOST_DIGITS = 19
"""Go's integers have 64 bits."""


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
    """Return Kaito's estimate, None for an instance type without GPUs."""
    if not instance.num_gpus:
        return None
    traits, length = serving_traits(release)["node_estimate"], length_tokens or DEFAULT_LENGTH_TOKENS
    return _estimate(traits, instance.total_gib, instance.num_gpus, checkpoint_bytes, kv_bytes_per_token, length)


def estimate_slice(
    release: str, profile: str, checkpoint_bytes: int, kv_bytes_per_token: int, length_tokens: int | None
) -> NodeEstimate | None:
    """Return Kaito's estimate for a slice of a GPU (MIG), None for a profile that is none.

    A slice has the memory that its profile names, and there is no second one: more than one node is a refusal.
    """
    named = _PROFILE.fullmatch(profile)
    if named is None:
        return None
    traits, length = serving_traits(release)["node_estimate"], length_tokens or DEFAULT_LENGTH_TOKENS
    return _estimate(traits, int(float(named[1])), 1, checkpoint_bytes, kv_bytes_per_token, length)


_PROFILE = re.compile(r"\d+g\.(\d+(?:\.\d+)?)gb")


def _estimate(
    traits: Mapping[str, float], total_gib: float, num_gpus: int, checkpoint_bytes: int, kv_bytes_per_token: int,
    length: int,
) -> NodeEstimate:  # fmt: skip
    available = total_gib * GIB / num_gpus * traits["utilization"]
    reserved = traits["base_overhead_gib"] * GIB + length * kv_bytes_per_token / num_gpus
    if available <= reserved:
        return NodeEstimate(None, length, int(reserved), int(available))
    per_gpu_weights = (available - reserved) / (1 + traits["overhead_weight_factor"])
    num_needed = int(checkpoint_bytes * traits["weight_factor"] / per_gpu_weights) + 1
    return NodeEstimate(-(-num_needed // num_gpus), length, int(reserved), int(available))
