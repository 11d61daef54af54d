"""Untrained models of two layers, of each architecture that the runtime is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

METHODS = ("lora", "nf4", "full")
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4}),
    "cohere": ("cohere", _HEADS),
    "deepseek_v3": (
        "deepseek_v3",
        {
            "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32,
            "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "v_head_dim": 16, "n_routed_experts": 4,
            "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
            "moe_intermediate_size": 32,
        },
    ),
    "falcon": ("falcon", {"num_attention_heads": 4, "multi_query": True, "parallel_attn": True}),
    "falcon_new": (
        "falcon",
        {"num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True, "parallel_attn": True},
    ),
    "gemma2": ("gemma2", {**_HEADS, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32}),
    "gemma3": ("gemma3_text", {**_HEADS, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32}),
    "gpt2": (
        "gpt2", {"n_layer": 2, "n_head": 4, "n_positions": 256, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    ),
    "gpt_neox": ("gpt_neox", {"num_attention_heads": 4}),
    "gpt_oss": ("gpt_oss", {**_HEADS, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gptj": ("gptj", {"n_layer": 2, "n_head": 4, "rotary_dim": 8, "n_positions": 256}),
    "granite": ("granite", _HEADS),
    "granitemoe": ("granitemoe", {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "llama": ("llama", _HEADS),
    "mamba": ("mamba", {"state_size": 8}),
    "mistral": ("mistral", {**_HEADS, "sliding_window": None}),
    "mixtral": ("mixtral", {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "mpt": ("mpt", {"n_layers": 2, "n_heads": 4, "max_seq_len": 256}),
    "olmo2": ("olmo2", _HEADS),
    "phi": ("phi", {"num_attention_heads": 4, "num_key_value_heads": 4}),
    "phi3": ("phi3", _HEADS),
    "qwen2": ("qwen2", _HEADS),
    "qwen2_moe": (
        "qwen2_moe", {**_HEADS, **_EXPERTS, "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1},
    ),
    "qwen3": ("qwen3", {**_HEADS, "head_dim": 16}),
    "qwen3_moe": ("qwen3_moe", {**_HEADS, **_EXPERTS, "head_dim": 16, "decoder_sparse_step": 1}),
    "stablelm": ("stablelm", _HEADS),
    "starcoder2": ("starcoder2", {**_HEADS, "residual_dropout": 0, "embedding_dropout": 0, "attention_dropout": 0}),
}  # fmt: skip
"""The `model_type` of each and what its config says beside the sizes that all share."""

HIDDEN_SIZE = 64


def tiny_config(name: str, num_tokens: int) -> Any:
    """The config of an architecture of two layers."""
    from transformers import AutoConfig

    model_type, particular = ARCHITECTURES[name]
    sizes = {
        "vocab_size": num_tokens, "hidden_size": HIDDEN_SIZE, "intermediate_size": 2 * HIDDEN_SIZE,
        "num_hidden_layers": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 0,
        "eos_token_id": 0,
    }  # fmt: skip
    config_class = type(AutoConfig.for_model(model_type))
    own = {"mpt": {"hidden_size": "d_model"}}.get(model_type, {})
    return config_class(**{own.get(key, key): value for key, value in {**sizes, **particular}.items()})


def save_tiny(name: str, folder: Path, tokenizer: Any) -> None:
    """Write the model of an architecture, always with the same weights, and a tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(name, len(tokenizer)), dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
