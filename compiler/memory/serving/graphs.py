"""CUDA graphs: how many vLLM captures, what they take, and whether it counts them before it sizes the KV cache."""

from __future__ import annotations

from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import MIB
from kaitoc.compiler.memory.serving.activations import BatchLimits, forward_bytes, uses_second_runner
from kaitoc.compiler.memory.serving.weights import Stage
from kaitoc.compiler.memory.serving.workload import ServingWorkload

_LARGEST = 512
"""Tokens of the largest graph (`_set_cudagraph_sizes` in vllm/config/vllm.py)."""
_GRAPH_BYTES = MIB
"""The least that vLLM counts for the driver's part of a graph (`profile_cudagraph_memory`, gpu_model_runner.py)."""


@dataclass(frozen=True, slots=True)
class GraphMemory:
    """What graphs take on a rank; `is_counted` says that vLLM takes it off the KV cache.

    The driver's part of a graph cannot be derived: `bytes` takes vLLM's least for each size captured, `high_bytes` for
    each of its pieces, of which there is one per layer.
    """

    bytes: int
    high_bytes: int
    is_counted: bool


def graph_memory(workload: ServingWorkload, stage: Stage, limits: BatchLimits) -> GraphMemory:
    """Return the memory of a rank's graphs: tensors of the largest one, whose pool all share, and the driver's part."""
    if workload.eager:
        return GraphMemory(0, 0, is_counted=False)
    verified = 1 + workload.num_drafted_tokens
    sizes = capture_sizes(limits, verified)
    decoding = [size for size in sizes if size <= limits.sequences * verified]
    pool = forward_bytes(workload, stage, sizes[-1])
    drafting = len(workload.draft_layers) + 1 if workload.draft_layers and stage.has_head else 0
    pieces = len(sizes) * (len(stage.layers) + 1 + drafting) + len(decoding)
    is_counted = workload.has(LibraryChange.COUNTED_GRAPHS) and not uses_second_runner(workload)
    return GraphMemory(
        pool + (len(sizes) + len(decoding)) * _GRAPH_BYTES, pool + pieces * _GRAPH_BYTES, is_counted=is_counted
    )


def capture_sizes(limits: BatchLimits, verified: int = 1) -> list[int]:
    """Return the batch sizes that are captured: 1, 2, 4, eights up to 256, sixteens up to twice the sequences.

    `verified` is how many tokens of a sequence one step takes: one, and those that were drafted.
    """
    largest = min(2 * limits.sequences * verified, _LARGEST, limits.tokens)
    sizes = [size for size in (1, 2, 4) if size <= largest]
    sizes += range(8, min(largest + 1, 256), 8)
    return sizes + list(range(256, largest + 1, 16))
