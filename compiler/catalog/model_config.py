"""Reads a model's `config.json` as an architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError, UnknownModelTypeError, text_part
from kaitoc.compiler.catalog.families import find_family, known_model_types
from kaitoc.compiler.catalog.parameter_count import count_parameters
from kaitoc.compiler.core.frozen import FrozenMapping
from kaitoc.compiler.core.records import replace

_NAMES = {
    "hidden_size": ("hidden_size", "n_embd"),
    "num_layers": ("num_hidden_layers", "n_layer"),
    "num_heads": ("num_attention_heads", "n_head"),
    "vocab_size": ("vocab_size",),
}
_TIED_BY_DEFAULT = ("falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "starcoder2")


def from_config(
    name: str,
    config: Mapping[str, object],
    *,
    hf_id: str = "",
    aliases: tuple[str, ...] = (),
    num_parameters: int | None = None,
) -> Architecture:
    """Return the architecture of a `config.json`; without `num_parameters` they are counted from the shapes.

    Raises `ArchitectureError` for missing keys and heads that do not divide the hidden size, and its subclass
    `UnknownModelTypeError` for a model type without closed form.
    """
    config = text_part(config)
    model_type = str(config.get("model_type", ""))
    _require_known(name, model_type)
    sizes = {key: _integer(name, config, names) for key, names in _NAMES.items()}
    length = _longest(name, config, model_type)
    hidden, heads = sizes["hidden_size"], sizes["num_heads"]
    head_dim = config.get("head_dim")
    if head_dim is None and hidden % heads:
        raise ArchitectureError(f"{name}: a hidden size of {hidden} cannot be split into {heads} heads")
    kv_heads = _num_kv_heads(config, model_type, heads)
    if kv_heads < 1 or heads % kv_heads:
        raise ArchitectureError(f"{name}: {heads} attention heads cannot share {kv_heads} key heads evenly")
    architecture = Architecture(
        name=name,
        hf_id=hf_id,
        model_type=model_type,
        hidden_size=hidden,
        intermediate_size=_intermediate_size(config, hidden),
        num_layers=sizes["num_layers"],
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=int(str(head_dim)) if head_dim is not None else hidden // heads,
        vocab_size=sizes["vocab_size"],
        max_position_embeddings=length,
        tied_embeddings=bool(config.get("tie_word_embeddings", model_type in _TIED_BY_DEFAULT)),
        num_parameters=num_parameters or 0,
        num_experts=_num_experts(config),
        aliases=aliases,
        config=_frozen(name, config),
    )
    if num_parameters is not None:
        return architecture
    return replace(architecture, num_parameters=count_parameters(architecture))


def _frozen(name: str, config: Mapping[str, object]) -> FrozenMapping:
    try:
        return FrozenMapping(config)
    except RecursionError as error:
        raise ArchitectureError(f"{name}: config.json is nested too deeply") from error


def _require_known(name: str, model_type: str) -> None:
    known = known_model_types()
    if model_type in known:
        return
    from difflib import get_close_matches

    nearest = get_close_matches(model_type, known, n=1, cutoff=0.0)[0]
    stated = f"the model type `{model_type}`" if model_type else "a config without `model_type`"
    raise UnknownModelTypeError(f"{name}: {stated} is not known; the nearest known is `{nearest}`")


def _integer(name: str, config: Mapping[str, object], names: tuple[str, ...]) -> int:
    for key in names:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 1:
                raise ArchitectureError(f"{name}: `{key}` must be at least 1, not {value}")
            return value
    raise ArchitectureError(f"{name}: config.json has no `{names[0]}`")


def _longest(name: str, config: Mapping[str, object], model_type: str) -> int:
    """Return the longest sequence, 0 where the config has no limit, as Falcon's has none.

    Positions that are learned need a table; scaled ones reach `factor` times as far as what they were trained on.
    """
    names = "max_position_embeddings", "n_positions"
    if all(config.get(key) is None for key in names) and find_family(model_type).rotary:
        return 0
    length = _integer(name, config, names)
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    by_layer_type = scaling.values() if isinstance(scaling, Mapping) else ()
    scalings = [one for one in (scaling, *by_layer_type) if isinstance(one, Mapping)]
    return max([length, *(_reach(one, config, length) for one in scalings)])


def _reach(scaling: Mapping[str, object], config: Mapping[str, object], length: int) -> int:
    """Multiply the reach of rotary positions by their scaling `factor`; return 0 without a usable one."""
    factor = scaling.get("factor")
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not math.isfinite(factor):
        return 0
    trained = scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings", length))
    return int(trained * factor) if isinstance(trained, int) else 0


def _num_kv_heads(config: Mapping[str, object], model_type: str, heads: int) -> int:
    if model_type == "falcon":
        if config.get("new_decoder_architecture"):
            return int(str(config.get("num_kv_heads") or heads))
        return 1 if config.get("multi_query", True) else heads
    if model_type == "gpt_bigcode":
        return 1 if config.get("multi_query", True) else heads
    return int(str(config.get("num_key_value_heads") or heads))


def _intermediate_size(config: Mapping[str, object], hidden: int) -> int:
    for key in ("intermediate_size", "ffn_hidden_size", "n_inner"):
        value = config.get(key)
        if isinstance(value, int):
            return value
    return 4 * hidden


def _num_experts(config: Mapping[str, object]) -> int:
    for key in ("num_local_experts", "num_experts"):
        value = config.get(key)
        if isinstance(value, int):
            return value
    return 0
