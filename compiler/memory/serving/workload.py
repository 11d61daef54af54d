"""What is to be served: a model, the layout of its ranks, and the settings of vLLM that decide its memory."""

from __future__ import annotations

from enum import Enum

from kaitoc.compiler.catalog.library_changes import LibraryChange, changes
from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.serving.shape import ServedLayer, ServedModel
from kaitoc.compiler.memory.serving.speculation import Speculation

DEFAULT_UTILIZATION = 0.84
"""What Kaito's controller passes (`buildVLLMInferenceCommand` in pkg/model/interface.go)."""
DEFAULT_BLOCK_TOKENS = 16
"""Tokens of one block of the KV cache (`CacheConfig.DEFAULT_BLOCK_SIZE` in vllm/config/cache.py)."""


class ServingError(KaitocError, ValueError):
    """A server that vLLM cannot start with or that is not modelled; `str(error)` is for the user."""


class LayoutError(ServingError):
    """Ranks or stages that vLLM cannot divide the model among."""


class WeightFormat(str, Enum):
    """How the weights of linear layers are stored on the GPU."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    AWQ = "awq"
    GPTQ = "gptq"
    INT4_EXPERTS = "int4-experts"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"
    BITSANDBYTES = "bitsandbytes"


@dataclass(frozen=True, slots=True)
class LoraSlots:
    """Room for adapters: `max_loras` of at most `max_rank` at once."""

    max_loras: int = 1
    max_rank: int = 16
    is_fully_sharded: bool = False


@dataclass(frozen=True, slots=True)
class ServingWorkload:
    """One replica of a server; None leaves it to vLLM's default for the GPU.

    `max_length_tokens` None is `max-model-len: auto`: the model's length, less where the KV cache holds less. `nodes`
    are the machines of the pipeline. `offloaded_share` is the share of the free host memory that LMCache takes, 0
    without it. `kv_cache_bytes` is vLLM's `kv-cache-memory-bytes`, which replaces what is profiled.
    `profiles_encoder` says that a multimodal model takes items and that vLLM profiles their encoder.
    """

    model: ServedModel
    vllm: str
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False
    utilization: float = DEFAULT_UTILIZATION
    max_length_tokens: int | None = None
    max_sequences: int | None = None
    max_batched_tokens: int | None = None
    kv_dtype: str = "auto"
    weight_format: WeightFormat = WeightFormat.BF16
    block_tokens: int = DEFAULT_BLOCK_TOKENS
    eager: bool = False
    hybrid_manager: bool = True
    prefix_caching: bool = False
    doubles_batch: bool = False
    lora: LoraSlots | None = None
    offloaded_share: float = 0.0
    weights_offload_bytes: int = 0
    kv_cache_bytes: int | None = None
    speculation: Speculation | None = None
    profiles_encoder: bool = True

    def has(self, change: LibraryChange) -> bool:
        """Return whether the release's vLLM has a change."""
        return changes()[change].includes(self.vllm)

    @property
    def num_gpus(self) -> int:
        """Count the GPUs of all ranks of all replicas."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def length_limit_tokens(self) -> int:
        """Return the context that is asked for: as stated, else all that the model can take."""
        return self.max_length_tokens or self.model.max_length_tokens

    @property
    def draft_layers(self) -> tuple[ServedLayer, ...]:
        """Return the layers that draft tokens, which the last stage of the pipeline holds."""
        return self.speculation.layers(self.model) if self.speculation is not None else ()

    @property
    def num_drafted_tokens(self) -> int:
        """The tokens that a step drafts for each sequence, 0 without speculative decoding."""
        return self.speculation.num_tokens if self.speculation is not None else 0

    @property
    def expert_ranks(self) -> int:
        """Return among how many ranks experts are divided; expert parallelism takes the replicas' too."""
        return self.tensor_parallel * (self.data_parallel if self.expert_parallel else 1)


def require_layout(workload: ServingWorkload) -> None:
    """Raise `LayoutError` for ranks that vLLM cannot divide a model among.

    Heads must be divisible (`ModelConfig.verify_with_parallel_config`), key heads divide the ranks or are divided by
    them (the assertions of vllm/model_executor/models/llama.py), and every pipeline stage needs a layer.
    """
    model, ranks = workload.model, workload.tensor_parallel
    if min(ranks, workload.pipeline_parallel, workload.data_parallel) < 1:
        raise ServingError("parallel sizes must be at least 1")
    if model.num_heads % ranks:
        raise LayoutError(f"{model.name} has {model.num_heads} attention heads, which {ranks} GPUs cannot share")
    kv_heads = {layer.cache.num_kv_heads for layer in model.layers if layer.cache.value_dim}
    for heads in sorted(kv_heads):
        if (heads % ranks if heads >= ranks else ranks % heads) and heads > 0:
            raise LayoutError(f"{model.name} has {heads} key-value heads, which {ranks} GPUs cannot share")
    if workload.pipeline_parallel > len(model.layers):
        raise LayoutError(
            f"{model.name} has {len(model.layers)} layers, too few for {workload.pipeline_parallel} pipeline stages"
        )
