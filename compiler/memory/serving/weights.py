"""Weights on one rank: what each format stores, and how tensor, pipeline and expert parallelism divide it."""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.serving.shape import CacheKind, ServedLayer, ServedModel
from kaitoc.compiler.memory.serving.speculation import Drafter
from kaitoc.compiler.memory.serving.workload import ServingWorkload, WeightFormat

_VOCABULARY_PAD = 64
"""`DEFAULT_VOCAB_PADDING_SIZE` in vllm/model_executor/layers/vocab_parallel_embedding.py."""
_MARLIN_HIDDEN_PAD, _MARLIN_INTERMEDIATE_PAD = 256, 128
"""MXFP4 experts are padded for Marlin (`mxfp4_round_up_hidden_size_and_intermediate_size`, oracle/mxfp4.py)."""
_HALF_BYTES = 2
_LINEAR_BYTES = {
    WeightFormat.BF16: 2.0,
    WeightFormat.FP16: 2.0,
    WeightFormat.FP8: 1.0 + 4 / 128**2,  # a float32 scale for each block of 128 x 128
    WeightFormat.INT8: 1.0,
    WeightFormat.AWQ: 0.5 + 2.5 / 128,  # groups of 128: a half scale and a 4-bit zero point
    WeightFormat.GPTQ: 0.5 + 2.5 / 128,
    WeightFormat.INT4_EXPERTS: 0.5 + 2 / 32,  # a half scale for each 32
    WeightFormat.MXFP4: 0.5 + 1 / 32,  # an 8-bit scale for each 32
    WeightFormat.NVFP4: 0.5 + 1 / 16,  # an fp8 scale for each 16
    WeightFormat.BITSANDBYTES: 0.5 + 4 / 64,  # a float32 absmax for each 64, which vLLM does not quantize again
}
_EXPERTS_ONLY = (WeightFormat.MXFP4, WeightFormat.INT4_EXPERTS)
"""Formats in which checkpoints store nothing but experts."""
FORMATS_BY_METHOD = {
    "": WeightFormat.BF16, "fp8": WeightFormat.FP8, "fbgemm_fp8": WeightFormat.FP8, "modelopt": WeightFormat.FP8,
    "awq": WeightFormat.AWQ, "awq_marlin": WeightFormat.AWQ, "gptq": WeightFormat.GPTQ,
    "gptq_marlin": WeightFormat.GPTQ, "mxfp4": WeightFormat.MXFP4, "nvfp4": WeightFormat.NVFP4,
    "modelopt_fp4": WeightFormat.NVFP4, "mixed_precision": WeightFormat.NVFP4,
    "bitsandbytes": WeightFormat.BITSANDBYTES, "int8": WeightFormat.INT8,
    "int4-experts": WeightFormat.INT4_EXPERTS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the pipeline: its layers' indexes, and whether it embeds tokens or computes logits."""

    first: int
    last: int
    embeds: bool
    has_head: bool

    @property
    def layers(self) -> range:
        """Return the indexes of its layers."""
        return range(self.first, self.last)

    def holds(self, index: int) -> bool:
        """Return whether a layer is on the stage; layers that draft follow the model's last one."""
        return self.first <= index < self.last or (self.has_head and index >= self.last)


def stages_of(num_layers: int, num_stages: int) -> tuple[Stage, ...]:
    """Return the stages; layers left over go to those before the last (`get_pp_indices`, vllm/distributed/utils.py)."""
    sizes = [num_layers // num_stages] * num_stages
    for offset in range(2, num_layers % num_stages + 2):
        sizes[-offset] += 1
    starts = [sum(sizes[:index]) for index in range(num_stages + 1)]
    return tuple(
        Stage(starts[index], starts[index + 1], index == 0, index == num_stages - 1) for index in range(num_stages)
    )


def format_of(model: ServedModel) -> WeightFormat:
    """Return the format of a checkpoint, that of its type where it is not quantized."""
    found = FORMATS_BY_METHOD.get(model.quantization, WeightFormat.BF16)
    return WeightFormat.FP16 if found is WeightFormat.BF16 and model.dtype == "float16" else found


def files_bytes(model: ServedModel) -> int:
    """Return the size of a model's weight files: as its catalog states it, else what one GPU would hold of it all."""
    if model.checkpoint_bytes is not None:
        return model.checkpoint_bytes
    return stage_weights_bytes(ServingWorkload(model, "0", weight_format=format_of(model)), _whole(model))


def stage_weights_bytes(workload: ServingWorkload, stage: Stage) -> int:
    """Return the bytes that one rank of a stage holds of the model, once it is loaded."""
    model = workload.model
    total = sum(layer_bytes(workload, model.layers[index]) for index in stage.layers)
    is_tied = model.tied_embeddings
    matrices = int(stage.embeds or (is_tied and stage.has_head)) + int(stage.has_head and not is_tied)
    total += matrices * _matrix_bytes(workload)
    if stage.has_head:
        total += model.hidden_size * _HALF_BYTES
    if stage.embeds:
        total += _encoder_bytes(model) / workload.tensor_parallel
    return max(0, int(total) - workload.weights_offload_bytes)


def draft_weights_bytes(workload: ServingWorkload, stage: Stage) -> int:
    """Return the bytes that one rank of a stage holds of what drafts tokens, as far as it is known.

    Layers of the model's own share its embedding and head, the embedding where it is on the same stage
    (`_maybe_share_embeddings` in vllm/v1/spec_decode); a draft model shares nothing.
    """
    speculation = workload.speculation
    if speculation is None or not stage.has_head:
        return 0
    if speculation.model is not None:
        return stage_weights_bytes(drafting(workload), _whole(speculation.model))
    if speculation.drafter is not Drafter.OWN_LAYERS:
        return 0
    embedding = 0 if stage.embeds else _matrix_bytes(workload)
    return int(_own_drafts_bytes(workload)) + embedding


def drafting(workload: ServingWorkload) -> ServingWorkload:
    """Return a draft model as a server of its own on the same ranks; raises no error for a workload without one."""
    model = workload.speculation.model if workload.speculation is not None else None
    if model is None:
        return workload
    return replace(workload, model=model, weight_format=format_of(model), speculation=None, weights_offload_bytes=0,
                   pipeline_parallel=1, lora=None)  # fmt: skip


def _whole(model: ServedModel) -> Stage:
    return Stage(0, len(model.layers), embeds=True, has_head=True)


def _matrix_bytes(workload: ServingWorkload) -> int:
    """Return the bytes of an embedding, or of a head of its own, on one rank."""
    model = workload.model
    rows = -(-model.vocab_size // _VOCABULARY_PAD) * _VOCABULARY_PAD
    return _HALF_BYTES * model.hidden_size * -(-rows // workload.tensor_parallel)


def layer_bytes(workload: ServingWorkload, layer: ServedLayer) -> float:
    """Return the bytes that one rank holds of a decoder layer.

    A rank holds whole key heads: where there are fewer than ranks, several hold the same one.
    """
    weights, ranks = layer.weights, workload.tensor_parallel
    per_expert = _LINEAR_BYTES[workload.weight_format]
    per_linear = _HALF_BYTES if workload.weight_format in _EXPERTS_ONLY else per_expert
    heads = layer.cache.num_kv_heads or workload.model.num_kv_heads
    kv_share = max(1, heads // ranks) / max(1, heads)
    linears = (weights.sharded / ranks + weights.kv * kv_share + weights.replicated) * per_linear
    experts = _expert_parameters(workload, weights.experts) * per_expert / workload.expert_ranks
    return linears + experts + weights.plain * _HALF_BYTES + weights.latent_bytes / ranks


def pass_bytes(workload: ServingWorkload, stage: Stage, num_tokens: int) -> float:
    """Return the weights that a forward pass of so many tokens reads on a rank of a stage.

    Of a mixture's experts those that at least one token chooses, were each as likely; of the embedding next to nothing.
    """
    model, idle = workload.model, 0.0
    if model.experts is not None:
        idle = (1 - model.experts.per_token / model.experts.num) ** num_tokens
    total = 0.0
    for index in stage.layers:
        layer = model.layers[index]
        experts = _expert_parameters(workload, layer.weights.experts) * _LINEAR_BYTES[workload.weight_format]
        total += layer_bytes(workload, layer) - idle * experts / workload.expert_ranks
    head = _HALF_BYTES * model.hidden_size * model.vocab_size / workload.tensor_parallel if stage.has_head else 0.0
    return total + head


def active_parameters(workload: ServingWorkload, layer: ServedLayer) -> float:
    """Return the parameters of a layer that one rank multiplies a token with."""
    weights, ranks, shape = layer.weights, workload.tensor_parallel, workload.model.experts
    heads = layer.cache.num_kv_heads or workload.model.num_kv_heads
    kv_share = max(1, heads // ranks) / max(1, heads)
    chosen = shape.per_token / shape.num if shape is not None else 0.0
    experts = weights.experts * chosen / workload.expert_ranks
    return weights.sharded / ranks + weights.kv * kv_share + weights.replicated + weights.plain + experts


def _expert_parameters(workload: ServingWorkload, parameters: int) -> float:
    """Return the parameters of a layer's experts as they are laid out."""
    model = workload.model
    shape = model.experts
    if workload.weight_format is not WeightFormat.MXFP4 or shape is None:
        return parameters
    hidden, size = model.hidden_size, shape.intermediate_size
    padded_hidden = -(-hidden // _MARLIN_HIDDEN_PAD) * _MARLIN_HIDDEN_PAD
    per_rank = size / workload.tensor_parallel
    padded_size = -(-per_rank // _MARLIN_INTERMEDIATE_PAD) * _MARLIN_INTERMEDIATE_PAD
    return parameters * (padded_hidden / hidden) * (padded_size / per_rank)


def _encoder_bytes(model: ServedModel) -> int:
    """Compute the encoders' bytes: the size of the files minus decoder and draft layers."""
    if not model.is_multimodal or model.checkpoint_bytes is None:
        return 0
    alone = ServingWorkload(model, "0", weight_format=format_of(model))
    rows = model.vocab_size * (1 if model.tied_embeddings else 2)
    decoder = sum(layer_bytes(alone, layer) for layer in model.layers) + rows * model.hidden_size * _HALF_BYTES
    return max(0, int(model.checkpoint_bytes - decoder - _own_drafts_bytes(alone)))


def _own_drafts_bytes(workload: ServingWorkload) -> float:
    """Return the bytes that one rank holds of the layers for multi-token prediction.

    Each has a projection of the embedding beside the hidden state, which ranks divide but for latent attention's models
    (`eh_proj` in models/deepseek_mtp.py, `fc` in models/qwen3_5_mtp.py).
    """
    model = workload.model
    last = model.layers[-1]
    ranks = 1 if last.cache.kind is CacheKind.MLA else workload.tensor_parallel
    projection = 2 * model.hidden_size**2 * _HALF_BYTES / ranks
    return model.num_draft_layers * (layer_bytes(workload, last) + projection)
