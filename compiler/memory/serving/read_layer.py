"""Reads one decoder layer of a `config.json`: the kind of its cache, and the parameters of its linear layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaitoc.compiler.memory.serving.shape import (
    AdaptedLinears,
    CacheKind,
    LayerCache,
    LayerWeights,
    ServedLayer,
    StateShape,
)

_ATTENTION, _SLIDING, _CHUNKED, _LINEAR, _MAMBA, _MLP, _MOE = (
    "full_attention", "sliding_attention", "chunked_attention", "linear_attention", "mamba", "mlp", "moe",
)  # fmt: skip
_PATTERN = {"M": _MAMBA, "*": _ATTENTION, "-": _MLP, "E": _MOE}
"""NVIDIA's `hybrid_override_pattern`, one letter a layer."""
_WORDS = {"attention": _ATTENTION, "compressed_sparse_attention": _ATTENTION}
_EVERY_FOURTH_IS_FULL = ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
_WINDOWS_BY_TYPE = {"gemma2": 2, "gpt_oss": 2, "gemma3_text": 6, "gemma4_text": 6, "cohere2": 4}
"""Of so many layers the last has no window (transformers' configuration classes)."""
_PLAIN_MLP = ("gpt2", "gpt_neox", "gpt_bigcode", "falcon", "phi", "starcoder2", "nemotron", "nemotron_h", "opt")
_WINDOWS_OFF_BY_DEFAULT = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")
_INDEX_SCALE_BYTES = 4
"""An indexer's key of 128 fp8 elements has one float32 scale (vllm/model_executor/models/deepseek_v2.py)."""


def integer(config: Mapping[str, object], *keys: str) -> int:
    """Return the first of some keys that holds a whole number, 0 when none does."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0


def layer_kinds(config: Mapping[str, object], num_layers: int) -> tuple[str, ...]:
    """Return the kind of every layer, by transformers' names."""
    for key in ("layer_types", "layers_block_type"):
        stated = config.get(key)
        if isinstance(stated, Sequence) and not isinstance(stated, str) and stated:
            return tuple(_WORDS.get(str(kind), str(kind)) for kind in stated)
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return tuple(_PATTERN.get(letter, _MLP) for letter in pattern)
    model_type = str(config.get("model_type", ""))
    if model_type in _EVERY_FOURTH_IS_FULL:
        every = integer(config, "full_attention_interval") or 4
        return tuple(_LINEAR if (index + 1) % every else _ATTENTION for index in range(num_layers))
    window = integer(config, "sliding_window")
    every = integer(config, "sliding_window_pattern", "_sliding_window_pattern") or _WINDOWS_BY_TYPE.get(model_type, 0)
    if window and every:
        kinds = [_SLIDING if (index + 1) % every else _ATTENTION for index in range(num_layers)]
        if model_type == "gemma4_text":
            kinds[-1] = _ATTENTION
        return tuple(kinds)
    is_on = config.get("use_sliding_window", model_type not in _WINDOWS_OFF_BY_DEFAULT)
    return (_SLIDING if window and is_on else _ATTENTION,) * num_layers


class LayerReader:
    """The sizes that all layers of a model share, and what follows for one of a kind."""

    def __init__(self, config: Mapping[str, object], hidden_size: int, num_heads: int, num_kv_heads: int) -> None:
        self.config, self.hidden_size = config, hidden_size
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.model_type = str(config.get("model_type", ""))
        self.head_dim = integer(config, "head_dim") or hidden_size // num_heads
        self.num_experts = integer(config, "n_routed_experts", "num_local_experts", "num_experts")
        self.experts_per_token = integer(config, "num_experts_per_tok", "top_k_experts", "moe_top_k")
        self.intermediate_size = integer(config, "intermediate_size", "ffn_hidden_size", "n_inner") or 4 * hidden_size
        self.expert_size = integer(config, "moe_intermediate_size") or self.intermediate_size
        self._gates = 1 if self.model_type in _PLAIN_MLP else 2

    def layer(self, index: int, kind: str, kinds: Sequence[str]) -> ServedLayer:
        """Return a layer; one whose keys and values another layer holds stores nothing (Gemma 3n and 4)."""
        cache = self._cache(kind)
        shared = integer(self.config, "num_kv_shared_layers")
        weights = self._weights(index, kind, cache)
        if shared and index >= len(kinds) - shared:
            cache = LayerCache(CacheKind.NONE)
        return ServedLayer(cache, weights)

    def _cache(self, kind: str) -> LayerCache:
        config = self.config
        if kind in (_MLP, _MOE):
            return LayerCache(CacheKind.NONE)
        if kind == _LINEAR:
            return LayerCache(CacheKind.STATE, state=self._delta_state())
        if kind == _MAMBA:
            return LayerCache(CacheKind.STATE, state=self._mamba_state())
        if latent := integer(config, "kv_lora_rank"):
            width = latent + integer(config, "qk_rope_head_dim")
            index_dim = integer(config, "index_head_dim") if "index_topk" in config else 0
            return LayerCache(CacheKind.MLA, 1, width, 0, index_bytes=index_dim + _INDEX_SCALE_BYTES * (index_dim > 0))
        heads, dim = self.num_kv_heads, self.head_dim
        if kind == _ATTENTION and integer(config, "global_head_dim"):
            dim = integer(config, "global_head_dim")
            if config.get("attention_k_eq_v"):
                heads = integer(config, "num_global_key_value_heads") or heads
        windows = {_SLIDING: ("sliding_window",), _CHUNKED: ("attention_chunk_size",)}
        found = {_SLIDING: CacheKind.SLIDING, _CHUNKED: CacheKind.CHUNKED}.get(kind, CacheKind.FULL)
        return LayerCache(found, heads, dim, dim, integer(config, *windows.get(kind, ())))

    def _delta_state(self) -> StateShape:
        """Return the state of a gated delta net (`gated_delta_net_state_shape` in layers/mamba/mamba_utils.py)."""
        config = self.config
        keys = integer(config, "linear_num_key_heads") * integer(config, "linear_key_head_dim")
        num_heads, value_dim = integer(config, "linear_num_value_heads"), integer(config, "linear_value_head_dim")
        return StateShape(
            conv_features=2 * keys + num_heads * value_dim,
            conv_tokens=(integer(config, "linear_conv_kernel_dim") or 4) - 1,
            num_heads=num_heads,
            head_elements=value_dim * integer(config, "linear_key_head_dim"),
            state_element_bytes=_element_bytes(config.get("mamba_ssm_dtype")),
        )

    def _mamba_state(self) -> StateShape:
        """Return the state of a Mamba 2 layer (`mamba2_state_shape`)."""
        config = self.config
        num_heads = integer(config, "mamba_num_heads", "mamba_n_heads")
        head_dim = integer(config, "mamba_head_dim", "mamba_d_head")
        state_size = integer(config, "ssm_state_size", "mamba_d_state")
        return StateShape(
            conv_features=num_heads * head_dim,
            conv_tokens=(integer(config, "conv_kernel", "mamba_d_conv") or 4) - 1,
            num_heads=num_heads,
            head_elements=head_dim * state_size,
            state_element_bytes=_element_bytes(config.get("mamba_ssm_cache_dtype")),
            num_groups=integer(config, "n_groups", "mamba_n_groups"),
            group_features=2 * state_size,
        )

    def _weights(self, index: int, kind: str, cache: LayerCache) -> LayerWeights:
        sharded, kv, replicated, latent, width = 0, 0, 0, 0, 0
        hidden, adapted = self.hidden_size, AdaptedLinears()
        if kind in (_LINEAR, _MAMBA) and cache.state is not None:
            state = cache.state
            values = self._state_values(state)
            mixed = state.conv_features + state.num_groups * state.group_features
            width = mixed + values + 2 * state.num_heads
            sharded = hidden * width + values * hidden + mixed * (state.conv_tokens + 1)
            adapted = AdaptedLinears(hidden, width, values, hidden)
        elif cache.kind is CacheKind.MLA:
            sharded, replicated, latent, width = self._latent_attention()
            values = self.num_heads * integer(self.config, "v_head_dim")
            adapted = AdaptedLinears(2 * hidden, width, values, hidden)
        elif cache.kind is not CacheKind.NONE:
            queries = self.num_heads * cache.key_dim
            projected = queries * (2 if self._has_output_gate else 1)
            one_side = cache.num_kv_heads * cache.key_dim
            sharded, kv = hidden * (projected + queries), 2 * hidden * one_side
            width = projected + 2 * one_side + 2 * queries
            adapted = AdaptedLinears(3 * hidden, projected + 2 * one_side, queries, hidden)
        dense, experts, plain, first, activated = self._mlp(index, kind)
        if activated:
            adapted = adapted.with_mlp(hidden, activated, self._gates)
        return LayerWeights(sharded + dense, kv, replicated, plain + 2 * hidden, experts, width, first, activated,
                            latent, adapted)  # fmt: skip

    @property
    def _has_output_gate(self) -> bool:
        default = self.model_type in _EVERY_FOURTH_IS_FULL
        return bool(self.config.get("attn_output_gate", default))

    def _state_values(self, state: StateShape) -> int:
        if state.num_groups:
            return state.conv_features
        return state.num_heads * integer(self.config, "linear_value_head_dim")

    def _latent_attention(self) -> tuple[int, int, int, int]:
        """Return the parameters of latent attention, what unpacking `kv_b_proj` adds, and the width of its outputs.

        vLLM multiplies by `kv_b_proj` in two halves, which it keeps in the model's type beside the weight itself
        (`process_weights_after_loading` in model_executor/layers/attention/mla_attention.py).
        """
        config, hidden, heads = self.config, self.hidden_size, self.num_heads
        latent, rope = integer(config, "kv_lora_rank"), integer(config, "qk_rope_head_dim")
        plain, value = integer(config, "qk_nope_head_dim"), integer(config, "v_head_dim")
        query_rank = integer(config, "q_lora_rank")
        queries = heads * (plain + rope)
        kv_b = latent * heads * (plain + value)
        replicated = hidden * (latent + rope) + hidden * query_rank
        sharded = (query_rank or hidden) * queries + kv_b + heads * value * hidden
        if "index_topk" in config:
            index_heads, index_dim = integer(config, "index_n_heads"), integer(config, "index_head_dim")
            replicated += query_rank * index_heads * index_dim + hidden * (index_dim + index_heads)
        return sharded, replicated, kv_b * 2, queries + heads * (latent + rope) + heads * value

    def _mlp(self, index: int, kind: str) -> tuple[int, int, int, int, int]:
        """Return dense, expert and plain parameters, and the widths before and after the activation."""
        hidden, gates = self.hidden_size, self._gates
        if self.model_type == "nemotron_h" and kind not in (_MLP, _MOE):
            return 0, 0, 0, 0, 0
        if not self._has_experts(index, kind):
            size = self.intermediate_size
            return (gates + 1) * hidden * size, 0, 0, gates * size, size
        shared = integer(self.config, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size")
        shared = shared or integer(self.config, "n_shared_experts") * self.expert_size
        inner = integer(self.config, "moe_latent_size") or hidden
        experts = self.num_experts * (gates + 1) * inner * self.expert_size
        around = 2 * hidden * inner if inner != hidden else 0
        dense = (gates + 1) * hidden * shared + around
        if self.config.get("enable_moe_block"):  # Gemma 4 has a dense MLP beside its experts
            dense += (gates + 1) * hidden * self.intermediate_size
            shared += self.intermediate_size
        return dense, experts, hidden * self.num_experts, gates * shared, shared

    def _has_experts(self, index: int, kind: str) -> bool:
        config = self.config
        if not self.num_experts or kind == _MLP:
            return False
        if self.model_type == "nemotron_h":
            return kind == _MOE
        types = config.get("mlp_layer_types")
        if isinstance(types, Sequence) and len(types) > index:
            return str(types[index]) != "dense"
        dense_only = config.get("mlp_only_layers")
        if isinstance(dense_only, Sequence) and index in dense_only:
            return False
        every = integer(config, "decoder_sparse_step", "moe_layer_freq") or 1
        return index >= integer(config, "first_k_dense_replace") and (index + 1) % every == 0


def _element_bytes(dtype: object) -> int:
    return {"float32": 4, "float16": 2, "bfloat16": 2}.get(str(dtype), 0)
