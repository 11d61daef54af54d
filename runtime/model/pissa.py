"""PiSSA: an adapter that begins as the principal part of each weight, which the base model gives up.

It would be wrong on the base model as others have it, so it is saved as the plain adapter that computes the same there:
W - B0 A0 + B A is W + [B, -B0] [A; A0], of twice the rank (peft/tuners/lora/model.py, `subtract_mutated_init`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from peft import get_peft_model_state_dict
from torch.nn.functional import pad

from kaitoc.compiler.plan.plan import LoraPlan

_ADAPTER = "default"
_INITIAL = "initial_pissa_adapter"


def is_pissa(lora: LoraPlan | None) -> bool:
    """Return whether an adapter begins as the principal part of the weights."""
    return lora is not None and str(lora.init_lora_weights).startswith("pissa")


def remember_initial(model: Any) -> None:
    """Keep what an adapter begins as, on the CPU, with the model: the base model no longer tells."""
    state = get_peft_model_state_dict(model)
    setattr(model, _INITIAL, {name: value.detach().cpu().clone() for name, value in state.items()})


def plain_state(model: Any, trained: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of the plain adapter for those that were trained; others are as they are.

    A layer with fewer inputs or outputs than the rank has only as many principal parts: the others are 0.
    """
    initial: dict[str, torch.Tensor] = getattr(model, _INITIAL)
    plain = {name: value.detach().cpu() for name, value in trained.items()}
    for name, value in plain.items():
        layer, _, matrix = name.partition(".lora_")
        if matrix.startswith(("A.", "embedding_A")):
            rank = model.get_submodule(layer).r[_ADAPTER]
            both = torch.cat([value, initial[name].to(value.dtype)], dim=0)
            plain[name] = pad(both, (0, 0, 0, 2 * rank - len(both)))
        elif matrix.startswith(("B.", "embedding_B")):
            rank = model.get_submodule(layer).r[_ADAPTER]
            both = torch.cat([value, -initial[name].to(value.dtype)], dim=1)
            plain[name] = pad(both, (0, 2 * rank - both.shape[1]))
    return plain


def plain_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an adapter's config with twice the ranks, and alphas that keep the scaling."""
    factor = math.sqrt(2) if values["use_rslora"] else 2
    return {
        **values,
        "r": 2 * values["r"],
        "lora_alpha": factor * values["lora_alpha"],
        "rank_pattern": {name: 2 * rank for name, rank in values["rank_pattern"].items()},
        "alpha_pattern": {name: factor * alpha for name, alpha in values["alpha_pattern"].items()},
    }
