"""The peak of vLLM's profiling run: one forward pass of a full batch, then sampling for every sequence.

What a layer's operations hold at once is read off vLLM's model code (0.25.1): qkv, attention, projections and the MLP
write one output each and free their inputs. Attention itself is skipped in the profiling run.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.catalog.library_changes import LibraryChange
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import GIB
from kaitoc.compiler.memory.serving.shape import ServedLayer
from kaitoc.compiler.memory.serving.speculation import Drafter
from kaitoc.compiler.memory.serving.weights import Stage, drafting
from kaitoc.compiler.memory.serving.workload import ServingWorkload

_HALF_BYTES, _FLOAT_BYTES = 2, 4
_LARGE_GPU_BYTES = 70 * GIB
_SORTED_SAMPLING_BYTES = 2 + 4 + (4 + 8) + 8 + (4 + 8)
"""Per sequence and word: logits, in float32, values and indices sorted, indices to sort, and the buffers of cub's
segmented radix sort (aten/src/ATen/native/cuda/Sort.cu)."""
_MASKED_SAMPLING_BYTES = 2 + 4 + 4 + 4
"""Logits, in float32, probabilities and their noise (`forward_native` in v1/sample/ops/topk_topp_sampler.py)."""
_GUMBEL_SAMPLING_BYTES = 2 + 4
"""Logits and their float32 copy (v1/worker/gpu/sample/sampler.py)."""
_VERIFIED_BYTES = 2 + 4
"""Verifying drafts: the logits of one more token of each sequence, and a float32 copy that is kept
(v1/sample/rejection_sampler.py)."""
_VIDEO_TOKENS = 32 * (70 + 2 + 6)
"""A video of Gemma 4, which a batch must hold whole (`get_mm_max_tokens_per_item` in models/gemma4_mm.py)."""
_V2_MIXTURES = ("deepseek_v2", "qwen2_moe", "granitemoe")
"""Mixtures that run on the second model runner (`DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES` in vllm/config/vllm.py)."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How many sequences and tokens one step takes at most."""

    sequences: int
    tokens: int


def batch_limits(workload: ServingWorkload, gpu: Gpu | None) -> BatchLimits:
    """Return the limits of a step, vLLM's defaults of an API server where they are not set.

    GPUs of 70 GiB and more take larger ones, but for the A100 (`get_batch_defaults` in vllm/engine/arg_utils.py).
    """
    is_large = gpu is not None and gpu.memory_bytes >= _LARGE_GPU_BYTES and "a100" not in gpu.model.lower()
    factor = 2 if workload.doubles_batch else 1
    sequences = workload.max_sequences or factor * (1024 if is_large else 256)
    model = workload.model
    least = _VIDEO_TOKENS if model.model_type == "gemma4_text" and workload.has(LibraryChange.WHOLE_ITEMS) else 0
    default = max(least, factor * (8192 if is_large else 2048))
    tokens = workload.max_batched_tokens or min(default, sequences * workload.length_limit_tokens)
    return BatchLimits(sequences if workload.max_sequences else min(sequences, tokens), tokens)


def uses_second_runner(workload: ServingWorkload) -> bool:
    """Return whether vLLM runs the model on its second model runner, which samples with less and counts no graphs."""
    model, speculation = workload.model, workload.speculation
    if model.is_hybrid or (speculation is not None and speculation.drafter in (Drafter.LOOKUP, Drafter.MODEL)):
        return False
    if workload.has(LibraryChange.DENSE_ON_SECOND_RUNNER):
        return model.experts is None or model.model_type in _V2_MIXTURES
    return workload.has(LibraryChange.QWEN3_ON_SECOND_RUNNER) and model.model_type == "qwen3"


def forward_bytes(workload: ServingWorkload, stage: Stage, tokens: int) -> int:
    """Return the peak of a forward pass of so many tokens on a rank of a stage."""
    layers = {workload.model.layers[index] for index in stage.layers}
    return tokens * _HALF_BYTES * max((_layer_width(workload, layer) for layer in layers), default=0)


def draft_pass_bytes(workload: ServingWorkload, stage: Stage, tokens: int) -> int:
    """Return the peak of drafting after a forward pass of so many tokens, whose hidden states it reads.

    The drafter copies them beside the embeddings and projects both (`dummy_run` in v1/spec_decode/llm_base_proposer.py;
    the copies are buffers that stay, `draft_buffers_bytes`).
    """
    if not workload.draft_layers or not stage.has_head:
        return 0
    drafter = drafting(workload)
    width = max(_layer_width(drafter, layer) for layer in set(workload.draft_layers))
    return tokens * _HALF_BYTES * (workload.model.hidden_size + 2 * drafter.model.hidden_size + width)


def draft_buffers_bytes(workload: ServingWorkload, stage: Stage, tokens: int) -> int:
    """Return the bytes of what a drafter keeps: hidden states of a full batch, of multimodal models embeddings too."""
    if not workload.draft_layers or not stage.has_head:
        return 0
    model = drafting(workload).model
    return tokens * _HALF_BYTES * model.hidden_size * (2 if model.is_multimodal else 1)


def _layer_width(workload: ServingWorkload, layer: ServedLayer) -> int:
    """Return the elements per token that are live at once in a layer, beside the residual.

    The widest moment of an MLP is its activation: the first projection's output and what is left of it; experts hold
    both for each of a token's choices (`intermediate_cache13` and `2` in fused_moe).
    """
    hidden, ranks, weights = workload.model.hidden_size, workload.tensor_parallel, layer.weights
    attention = hidden + weights.attention_width // ranks
    mlp = max(hidden + weights.mlp_width // ranks, (weights.mlp_width + weights.activated_width) // ranks)
    experts = 0
    shape = workload.model.experts
    if shape is not None and weights.experts:
        size = shape.intermediate_size // ranks
        experts = hidden + shape.per_token * (max(2 * size, hidden) + size)
        experts += weights.activated_width and hidden
    return hidden + max(attention, mlp, experts)


def sampling_bytes(workload: ServingWorkload, limits: BatchLimits) -> int:
    """Return the peak of sampling a word for every sequence, beside the hidden states of the forward pass.

    Ranks gather the logits that each has a part of.
    """
    model = workload.model
    rows = min(limits.sequences, limits.tokens)
    words = model.vocab_size
    hidden = (limits.tokens + 2 * rows) * model.hidden_size * _HALF_BYTES
    gathered = rows * words * _HALF_BYTES // workload.tensor_parallel if workload.tensor_parallel > 1 else 0
    return hidden + gathered + rows * words * _bytes_per_word(workload)


def _bytes_per_word(workload: ServingWorkload) -> int:
    if uses_second_runner(workload):
        return _GUMBEL_SAMPLING_BYTES
    verified = _VERIFIED_BYTES if workload.speculation is not None else 0
    return verified + (
        _MASKED_SAMPLING_BYTES if workload.has(LibraryChange.MASKED_SAMPLING) else _SORTED_SAMPLING_BYTES
    )
