"""The encoder of a multimodal model in vLLM's profiling run (`profile_run` in vllm/v1/worker/gpu_model_runner.py).

It encodes as many of the largest items as the batch has room for, before the decoder's pass, and keeps the outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from kaitoc.compiler.catalog.encoders import Encoder, find_encoder
from kaitoc.compiler.memory.serving.activations import BatchLimits, uses_second_runner
from kaitoc.compiler.memory.serving.workload import ServingWorkload

_HALF_BYTES = 2
_UNKNOWN = Encoder(1280, 5120, 65_536, 16_384, 1536, ("image", "video", "audio"))
"""Stands for an encoder that no catalog has: as wide as the widest of it, with the largest items."""


def is_encoder_profiled(workload: ServingWorkload) -> bool:
    """Return whether the profiling run encodes items; the second model runner's never does."""
    return workload.model.is_multimodal and workload.profiles_encoder and not uses_second_runner(workload)


def encoder_peak_bytes(workload: ServingWorkload, limits: BatchLimits) -> int:
    """Return at most how many bytes encoding takes in the profiling run, 0 where it encodes nothing.

    A layer holds its input, the residual and the first projection of its MLP before and after the activation.
    """
    if not is_encoder_profiled(workload):
        return 0
    encoder = find_encoder(workload.model.model_type) or _UNKNOWN
    num_items = max(1, limits.tokens // encoder.tokens)
    width = 2 * encoder.hidden_size + 2 * encoder.intermediate_size + 2 * encoder.patch_features
    return num_items * _HALF_BYTES * (encoder.patches * width + encoder.tokens * workload.model.hidden_size)


def takes_items(workload: ServingWorkload, limits: Mapping[str, object]) -> bool:
    """Return whether a `limit-mm-per-prompt` leaves items of a kind that the model's encoder encodes."""
    encoder = find_encoder(workload.model.model_type) or _UNKNOWN
    return any(_limit(limits.get(modality)) != 0 for modality in encoder.modalities)


def _limit(limit: object) -> object:
    """Return the number of a limit, which may be written with the size of an item: `{"count": 1, "width": 512}`."""
    return limit.get("count") if isinstance(limit, Mapping) else limit
