"""Generates `schemas/catalog/module_names.json`: every module of every model type that is not a linear layer.

Run with transformers installed: `python -m kaitoc.schemas.generate.module_names`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCHEMAS = Path(__file__).resolve().parents[1]
_LINEAR = ("Linear", "Conv1D")
"""Linear layers, GPT-2's `Conv1D` among them: `schemas/catalog/families.json` has them."""
_ADAPTED = ("Embedding", "Conv2d")
"""Other layers that PEFT puts adapters on (`tuners/lora/model.py`, `_create_new_module`, 0.11.1)."""


def main() -> None:
    """Write the table."""
    models = json.loads((_SCHEMAS / "catalog/models.json").read_text())["models"]
    configs: dict[str, dict[str, Any]] = {}
    for model in models:
        configs.setdefault(model["config"]["model_type"], model["config"])
    table = {
        "$comment": "Modules that are no linear layers, layer 0 standing for all, as transformers builds them: those "
        "that PEFT adapts, by class, and those on which it stops. Written by schemas/generate/module_names.py.",
        "model_types": {model_type: _modules(config) for model_type, config in sorted(configs.items())},
    }
    text = json.dumps(table, indent=1) + "\n"
    (_SCHEMAS / "catalog/module_names.json").write_text(text)


def _modules(config: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    layers = "n_layer" if "n_layer" in config else "num_hidden_layers"
    small = AutoConfig.for_model(**{**config, layers: 2})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(small)  # type: ignore[no-untyped-call]  # transformers' own
    adapted: dict[str, str] = {}
    refused: list[str] = []
    for path, module in model.named_modules():
        if not path or ".1" in path:
            continue
        bases = {base.__name__ for base in type(module).__mro__}
        if not bases.isdisjoint(_LINEAR):
            continue
        if bases.isdisjoint(_ADAPTED):
            refused.append(path)
        else:
            adapted[path] = type(module).__name__
    return {"adapted": adapted, "refused": refused}


if __name__ == "__main__":
    main()
