"""A model whose every weight is trained: saved under the checkpoint's names, verified, and read again.

transformers 5 renames and fuses weights when it loads a model, Mixtral's experts for one, and reverts that when it
saves (transformers/core_model_loading.py). So a saved file has other names and shapes than the model's `state_dict`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion

from kaitoc.runtime.failures import OutputFailure
from kaitoc.runtime.output.saved_tensors import verify_tensors


def verify_model(model: Any, folder: Path, state: dict[str, torch.Tensor] | None) -> None:
    """Raise `OutputFailure` unless a saved model holds what was trained, and loads without a weight too few or many.

    It is loaded onto the meta device, which takes no memory.
    """
    verify_tensors(revert_weight_conversion(model, model.state_dict() if state is None else state), folder)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, device_map="meta", output_loading_info=True)
    info = loaded[1]
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[fault]:
            what = fault.replace("_keys", " when it is loaded")
            raise OutputFailure(f"{folder}: `{min(map(str, info[fault]))}` of the saved model is {what}")


def load_weights(model: Any, folder: Path) -> None:
    """Load a saved model's weights into a model of the same kind, by the way of the CPU.

    The trainer would compare names with the model's own, and pass over those that differ.
    """
    loaded = type(model).from_pretrained(folder, dtype=model.dtype, use_safetensors=True)
    model.load_state_dict(loaded.state_dict())
