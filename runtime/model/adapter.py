"""Puts a plan's adapter on a model: on what the plan names, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from kaitoc.compiler.catalog.linear_modules import ALL_LINEAR
from kaitoc.compiler.catalog.sites import is_target
from kaitoc.compiler.plan.plan import LoraPlan, Plan
from kaitoc.runtime.failures import ModelFailure, in_words
from kaitoc.runtime.model.pissa import is_pissa, remember_initial
from kaitoc.runtime.model.served_adapter import served_config, tell_server
from kaitoc.runtime.notes import note
from kaitoc.runtime.world import is_main_process


def lora_config(lora: LoraPlan) -> LoraConfig:
    """Return PEFT's configuration; the plan has its field names, and empty collections mean PEFT's defaults."""
    values = {name: value for name, value in lora.model_dump().items() if value not in ((), {}, None)}
    lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
    targets = lists.get("target_modules", ALL_LINEAR)
    return LoraConfig(**{**values, **lists, "target_modules": targets, "task_type": "CAUSAL_LM"})


def adapt(model: Any, plan: Plan, lora: LoraPlan) -> Any:
    """Return the model with its adapter, which the Kaito release of the plan can serve; raises `ModelFailure`."""
    _require_modules(model, lora.modules_to_save)
    _tell_unmatched(model, lora.target_modules or ())
    config = lora_config(lora)
    if config.target_modules == ALL_LINEAR:
        _leave_out_routing(model, config)
    try:
        adapted = get_peft_model(model, config)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFailure(f"the adapter is incompatible with the model: {in_words(error)}") from error
    if is_pissa(lora):
        remember_initial(adapted)
    tell_server(served_config(adapted, plan.provenance.kaito_release), plan.provenance.kaito_release)
    return adapted


def _leave_out_routing(model: Any, config: LoraConfig) -> None:
    """Keep "all-linear" to linear layers that are no routers.

    PEFT would add the fused experts of a mixture and their routers, as parameters that the PEFT of Kaito's images does
    not know (peft/utils/transformers_weight_conversion.py); whoever wants them names them.
    """
    config.exclude_modules = [*(config.exclude_modules or ()), *_linear_routers(model)] or None
    if find_spec("peft.utils.transformers_weight_conversion") is None:
        return
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    ranks, alphas = dict(config.rank_pattern or {}), dict(config.alpha_pattern or {})
    convert_peft_config_for_transformers(config, model, None)
    if config.target_parameters:
        config.target_parameters, config.rank_pattern, config.alpha_pattern = None, ranks, alphas
        if is_main_process():
            note("adapter: experts and routers get no adapter unless `target_modules` names them")


def _linear_routers(model: Any) -> list[str]:
    """Return the names of linear layers that choose experts: a router, or a gate beside the experts."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    names = {name for name, _ in model.named_modules()}
    return [name for name in linear if _is_router(name, names)]


def _is_router(name: str, names: set[str]) -> bool:
    parent, _, own = name.rpartition(".")
    return "router" in name.split(".") or (own == "gate" and f"{parent}.experts" in names)


def _require_modules(model: Any, wanted: Sequence[str]) -> None:
    """Raise `ModelFailure` when a module to train in full is not in the model, which PEFT would pass over.

    Source of the match by the end of a name: peft 0.21, `peft/utils/other.py`, `_set_trainable`.
    """
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    for module_name in wanted:
        if not any(name.endswith(module_name) for name in names):
            close = get_close_matches(module_name, {name.rpartition(".")[2] for name in names}, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise ModelFailure(f"modules_to_save: the model has no module `{module_name}`{hint}")


def _tell_unmatched(model: Any, targets: Sequence[str]) -> None:
    """Say which target modules the model does not have: PEFT trains the others and says nothing."""
    names = [name for name, _ in model.named_modules()]
    missing = [target for target in targets if not any(is_target(name, target) for name in names)]
    matched = [target for target in targets if target not in missing]
    if missing and matched and is_main_process():
        note(f"adapter: the model has no {', '.join(missing)}; only {', '.join(matched)} is trained")
