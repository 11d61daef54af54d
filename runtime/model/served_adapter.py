"""The `adapter_config.json` that Kaito's images load: by the keys of their PEFT, each with the same meaning there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora.layer import LoraLayer
from transformers.pytorch_utils import Conv1D

from kaitoc.compiler.catalog.releases import find_release
from kaitoc.compiler.catalog.served_adapters import is_scaled_alike, needed_lora_rank, vllm_refusals
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.runtime.failures import ModelFailure
from kaitoc.runtime.model.pissa import plain_config
from kaitoc.runtime.notes import note
from kaitoc.runtime.world import is_main_process

_ADAPTER = "default"
_KINDS_OF_LAYERS = (torch.nn.Linear, torch.nn.Embedding, torch.nn.Conv2d, Conv1D)
"""What the PEFT of Kaito's images can adapt (peft 0.11.1, `tuners/lora/layer.py`, `dispatch_default`)."""
_SAID_OTHERWISE = frozenset({"exclude_modules", "peft_version"})
"""Keys that mean nothing where `target_modules` lists what has an adapter."""


def served_config(model: PeftModel, release: str) -> dict[str, Any]:
    """Return a model's adapter config as the PEFT of a Kaito release loads it, as the installed PEFT's without one.

    Modules and their ranks are written out, since patterns are matched in another way by other versions of PEFT.
    Raises `ModelFailure` for a setting that the release's PEFT does not know, or a layer that it cannot adapt.
    """
    config: Any = model.peft_config[_ADAPTER]
    values = {
        **config.to_dict(),
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model.get_base_model().name_or_path,
        "inference_mode": True,
        "init_lora_weights": True,
        **({} if config.target_parameters else _written_out(model, config)),
    }
    if str(config.init_lora_weights).startswith("pissa"):
        values = plain_config(values)
    known = _known_keys(release)
    neutral = LoraConfig().to_dict()
    for key in sorted(values.keys() - known - _SAID_OTHERWISE):
        if values[key] and values[key] != neutral[key]:
            raise ModelFailure(
                f"the adapter needs `{key}`, which the PEFT {_peft_of(release)} of Kaito {release} does not know: the "
                f"adapter would not load there{_hint(key)}"
            )
    if _peft_of(release):
        _require_adaptable(model, config, release)
    return {key: _plain(value) for key, value in sorted(values.items()) if key in known}


def tell_server(config: Mapping[str, Any], release: str) -> None:
    """Say before training what keeps the vLLM of a Kaito release from serving an adapter as it was trained."""
    known = find_release(release) if release else None
    if known is None or not is_main_process():
        return
    server = f"the vLLM {known.vllm} of Kaito {known.name}"
    for reason in vllm_refusals(config).values():
        note(f"adapter: {server} will refuse it: {reason}; --merge writes a model that it serves")
    rank = needed_lora_rank(config)
    if rank is not None:
        note(f"adapter: rank {config['r']} needs `max-lora-rank: {rank}` where {server} serves it")
    if not is_scaled_alike(config):
        note(f"adapter: {server} scales all modules by `lora_alpha` / `r` and will compute something else")


def _known_keys(release: str) -> frozenset[str]:
    if not release or find_release(release) is None:
        return frozenset(field.name for field in fields(LoraConfig))
    return frozenset(release_arguments(release).sections["LoraConfig"].arguments)


def _require_adaptable(model: PeftModel, config: LoraConfig, release: str) -> None:
    """Raise `ModelFailure` for a layer whose adapter the PEFT of a release cannot make, whatever its config says."""
    server = f"the PEFT {_peft_of(release)} of Kaito {release}"
    for name, layer in _adapted_layers(model).items():
        base = layer.get_base_layer()
        if not isinstance(base, _KINDS_OF_LAYERS):
            raise ModelFailure(f"{server} has no adapter for a {type(base).__name__}: leave `{name}` out")
        if config.use_dora and isinstance(base, torch.nn.Embedding):
            raise ModelFailure(f"{server} has no DoRA for embeddings: leave `{name}` out, or `use_dora`")
        if hasattr(base, "embed_scale"):
            raise ModelFailure(
                f"{server} leaves the scale of the model's embeddings out of an adapter: leave `{name}` out"
            )


def _peft_of(release: str) -> str:
    known = find_release(release)
    return known.peft if known is not None else ""


def _hint(key: str) -> str:
    return "; name no experts and no router in `target_modules`" if key == "target_parameters" else ""


def _written_out(model: PeftModel, config: LoraConfig) -> dict[str, Any]:
    """Rewrite an adapter config to plain names of the adapted layers, without exclusions or layer counts."""
    layers = _adapted_layers(model)
    return {
        "target_modules": _names_for(model, layers),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        **_patterns(config, layers),
    }


def _adapted_layers(model: PeftModel) -> dict[str, LoraLayer]:
    """Return the layers that have adapters, by their names in the base model."""
    return {name: module for name, module in model.get_base_model().named_modules() if isinstance(module, LoraLayer)}


def _names_for(model: PeftModel, layers: Mapping[str, LoraLayer]) -> list[str]:
    """Return names that reach these layers alone: the last parts where they suffice, else whole ones.

    In a mixture they are whole: experts that are fused here are modules of the same names in transformers 4.
    """
    own = {name.rpartition(".")[2] for name in layers}
    others = [
        name
        for name, _ in model.get_base_model().named_modules()
        if name and name not in layers and not any(name.startswith(f"{layer}.") for layer in layers)
    ]
    last_parts = {name.rpartition(".")[2] for name in others}
    return sorted(layers if own & last_parts or "experts" in last_parts else own)


def _patterns(config: LoraConfig, layers: Mapping[str, LoraLayer]) -> dict[str, dict[str, Any]]:
    """Return ranks and alphas that differ from the adapter's, layer by layer.

    PEFT 0.11 looks a layer up once, in the patterns of ranks and then of alphas, so both have the same keys; its match
    wants something before the name (peft 0.11.1, `tuners/lora/model.py`), so the first part is left out.
    """
    if not config.rank_pattern and not config.alpha_pattern:
        return {}
    differing = {
        re.escape(name.partition(".")[2]): (layer.r[_ADAPTER], layer.lora_alpha[_ADAPTER])
        for name, layer in layers.items()
        if (layer.r[_ADAPTER], layer.lora_alpha[_ADAPTER]) != (config.r, config.lora_alpha)
    }
    return {
        "rank_pattern": {name: rank for name, (rank, _) in differing.items()},
        "alpha_pattern": {name: alpha for name, (_, alpha) in differing.items()},
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: sets are lists."""
    return sorted(value) if isinstance(value, (set, frozenset)) else value
