"""How a model's frozen weights are quantized, and which of them are not although the plan says so."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BitsAndBytesConfig

from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.model.shard_loading import is_sharded
from kaitoc.runtime.notes import note
from kaitoc.runtime.world import is_main_process

_QUANTIZED = ("Params4bit", "Int8Params")
_TOLD_SHARE = 0.02
_MAX_NAMES = 4


def quantization_config(plan: Plan) -> BitsAndBytesConfig | None:
    """Return the configuration of bitsandbytes for a plan, None for weights that stay as they are."""
    kind = plan.quantization.method
    if kind == "none":
        return None
    if kind == "int8":
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=plan.quantization.int8_threshold,
            llm_int8_skip_modules=list(plan.quantization.skip_modules) or None,
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=list(plan.quantization.skip_modules) or None,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=getattr(torch, plan.quantization.compute_dtype),
        bnb_4bit_use_double_quant=plan.quantization.double_quant,
        bnb_4bit_quant_storage=_storage(plan),
    )


def _storage(plan: Plan) -> Any:
    """Return the type that packed 4-bit weights are stored as: FSDP shards those of floating point alone."""
    return getattr(torch, plan.quantization.compute_dtype) if is_sharded(plan) else torch.uint8


def tell_unquantized(plan: Plan, model: Any) -> None:
    """Say which matrices of a model are not quantized, when they are more than a trace of it.

    transformers replaces plain linear layers alone: none of Falcon's, which are of a class of its own, and no experts
    that are fused (transformers/integrations/bitsandbytes.py).
    """
    if plan.quantization.method == "none" or not is_main_process():
        return
    left = _unquantized(plan, model)
    num_left = sum(parameter.numel() for parameter in left.values())
    if num_left <= _TOLD_SHARE * sum(parameter.numel() for parameter in model.parameters()):
        return
    names = list(dict.fromkeys(name.removesuffix(".weight").rpartition(".")[2] for name in left))
    num_bytes = sum(parameter.numel() * parameter.element_size() for parameter in left.values())
    dtype = str(next(iter(left.values())).dtype).removeprefix("torch.")
    listed = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    note(
        f"quantization: {listed} stay in {dtype} ({format_gib(num_bytes)}): bitsandbytes quantizes plain linear layers "
        "only"
    )


def _unquantized(plan: Plan, model: Any) -> dict[str, Any]:
    """Return the matrices that are not quantized, save embeddings, the head and what the plan leaves out."""
    ends = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    kept = {id(module.weight) for module in (*ends, model.get_output_embeddings()) if module is not None}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1
        and type(parameter).__name__ not in _QUANTIZED
        and id(parameter) not in kept
        and not any(skipped in name for skipped in plan.quantization.skip_modules)
    }
