"""Parameters of a model, counted from its shapes; held to transformers' own count for every catalog model."""

from __future__ import annotations

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.families import Family, find_family
from kaitoc.compiler.catalog.linear_modules import linear_modules

_QUERY_KEY_VALUE = frozenset(("q_proj", "k_proj", "v_proj"))
_ALWAYS_BIASED = frozenset(("phi", "gpt_neox", "gpt2", "gpt_bigcode"))


def count_parameters(architecture: Architecture) -> int:
    """Return the number of parameters, tied weights once, as `model.num_parameters()` of transformers counts."""
    family = find_family(architecture.model_type)
    modules = linear_modules(architecture, fused_experts=False)
    linears = sum(module.count * module.in_features * module.out_features for module in modules if not module.is_head)
    biases = sum(module.count * module.out_features for module in modules if has_bias(architecture, module.name))
    vocabulary = architecture.vocab_size * architecture.hidden_size
    matrices = 1 if architecture.tied_embeddings else 2
    positions = architecture.max_position_embeddings * architecture.hidden_size if family.positions else 0
    return linears + biases + matrices * vocabulary + positions + _norms(architecture, family)


def has_bias(architecture: Architecture, name: str) -> bool:
    """Whether the linear layers of a name add a bias."""
    config, model_type = architecture.config, architecture.model_type
    if name == find_family(model_type).head:
        return model_type == "phi"
    if model_type in _ALWAYS_BIASED:
        return True
    if model_type in ("qwen2", "qwen2_moe"):
        return name in _QUERY_KEY_VALUE
    if model_type == "starcoder2":
        return bool(config.get("use_bias", True))
    if model_type == "falcon":
        return bool(config.get("bias", False))
    is_attention = name in _QUERY_KEY_VALUE or name == "o_proj"
    return bool(config.get("attention_bias" if is_attention else "mlp_bias", False))


def _norms(architecture: Architecture, family: Family) -> int:
    """Count norm weights: per layer, of queries and keys, and the final one; layer norms have a bias too."""
    per_norm = architecture.hidden_size * (2 if family.norm == "layer" else 1)
    num_norms = architecture.num_layers * _norms_per_layer(architecture, family) + 1
    query_key = 2 * architecture.head_dim * architecture.num_layers if family.query_key_norm else 0
    return num_norms * per_norm + query_key


def _norms_per_layer(architecture: Architecture, family: Family) -> int:
    if architecture.model_type == "falcon":
        is_new = bool(architecture.config.get("new_decoder_architecture", False))
        return 2 if is_new or not architecture.config.get("parallel_attn", True) else 1
    return 4 if family.post_norms else family.norms
