"""The shape of a model that only transformers knows, read from its own code on meta tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights

from kaitoc.compiler.catalog.architecture import Architecture, ArchitectureError, text_part
from kaitoc.compiler.core.frozen import FrozenMapping

_MOST_CHARACTERS = 200


def architecture_from_transformers(name: str, config: Mapping[str, object]) -> Architecture:
    """Return the architecture of a `config.json` whose model type the catalog of families lacks.

    Parameters are counted on the model itself. Raises `ArchitectureError` where transformers does not know the model
    type, has no causal language model for it, or cannot build it from this configuration.
    """
    config = text_part(config)
    values: dict[str, Any] = dict(config)
    model_type = values.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise ArchitectureError(f"transformers {transformers.__version__} does not know it either")
    try:
        known = AutoConfig.for_model(**values)
        with torch.device("meta"), no_init_weights():
            model = AutoModelForCausalLM.from_config(known)
            model.tie_weights()
    except Exception as error:
        # A configuration that no model can have fails in as many ways as there are models.
        raise ArchitectureError(f"transformers cannot build it: {_first_line(error)}") from error
    return Architecture(
        name=name,
        hf_id="",
        model_type=str(model_type),
        hidden_size=_size(known, "hidden_size"),
        intermediate_size=_size(known, "intermediate_size", 4 * _size(known, "hidden_size")),
        num_layers=_size(known, "num_hidden_layers"),
        num_heads=_size(known, "num_attention_heads", 1),
        num_kv_heads=_size(known, "num_key_value_heads", _size(known, "num_attention_heads", 1)),
        head_dim=_size(known, "head_dim", _size(known, "hidden_size") // _size(known, "num_attention_heads", 1)),
        vocab_size=_size(known, "vocab_size"),
        max_position_embeddings=_size(known, "max_position_embeddings", 0),
        tied_embeddings=bool(getattr(known, "tie_word_embeddings", False)),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        config=FrozenMapping(config),
    )


def _size(config: Any, key: str, default: int | None = None) -> int:
    """Return a size by the name that transformers gives it in every model type (`attribute_map`)."""
    value = getattr(config, key, None)
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if default is None:
        raise ArchitectureError(f"the configuration has no `{key}`")
    return default


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:_MOST_CHARACTERS] if lines else type(error).__name__
