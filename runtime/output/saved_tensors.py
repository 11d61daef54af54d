"""Comparing the tensors of saved files with those that were trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from kaitoc.runtime.failures import OutputFailure


def verify_tensors(trained: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Raise `OutputFailure` unless each tensor in the folder's safetensors files is the one of its name."""
    num_tensors = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  (not a mapping)
                num_tensors += 1
                if not is_same(stored.get_tensor(name), trained.get(name)):
                    raise OutputFailure(f"{folder}: what was saved is not what was trained: `{name}` differs")
    if num_tensors == 0:
        raise OutputFailure(f"{folder}: nothing of what was trained was saved")


def is_same(tensor: torch.Tensor, other: torch.Tensor | None) -> bool:
    """Return whether both hold the same numbers, on whatever devices, in the type of the second."""
    return other is not None and torch.equal(tensor.to(other.dtype).cpu(), other.cpu())
