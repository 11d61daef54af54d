"""Print the modules of every model type that Kaito can tune, by what an adapter can do with them, as JSON.

It runs inside a release's own environment, so it imports nothing of kaitoc. Models are built on the meta device from
their default configurations with two layers; PEFT's LoRA is asked about each module.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Dict, List  # noqa: UP035  run by the Python of each release

_Json = Dict[str, Any]  # noqa: UP006  run by the Python of each release
MODEL_TYPES = ("falcon", "gemma", "gpt2", "gpt_neox", "llama", "mistral", "phi", "phi3", "qwen2", "qwen3")


def modules_of(model_type: str) -> _Json:
    """Return the last parts of module names by kind: layers that take an adapter, embeddings, and all others."""
    import torch
    from peft.tuners.lora.layer import Conv2d, Embedding, Linear  # noqa: F401
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config: Any = AutoConfig.for_model(model_type, num_hidden_layers=2)
    automatic: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = automatic.from_config(config)
    kinds: Dict[str, List[str]] = {"linear": [], "embedding": [], "other": []}  # noqa: UP006
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if not name or name.isdigit():
            continue
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            kind = "linear"
        elif isinstance(module, torch.nn.Embedding):
            kind = "embedding"
        else:
            kind = "other"
        if name not in kinds[kind]:
            kinds[kind].append(name)
    return kinds


def main() -> None:
    """Print the modules, with the version of transformers that they were read from."""
    from importlib.metadata import version

    found = {name: modules_of(name) for name in MODEL_TYPES}
    json.dump({"stack": {name: version(name) for name in ("transformers", "peft")}, "modules": found}, sys.stdout)


if __name__ == "__main__":
    main()
