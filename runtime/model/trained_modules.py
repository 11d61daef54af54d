"""Which modules of a model are trained, by the names that the base model gives them."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora.layer import ParamWrapper

_INSIDE_PEFT = (".lora_", ".modules_to_save.", ".base_layer")
_OWN = (".weight", ".bias")


def trainable_by_module(model: Any) -> dict[str, int]:
    """Return the number of trained parameters by the last part of the name of the module they belong to."""
    parameters = {name: module.parameter_name for name, module in model.named_modules() if _is_wrapper(module)}
    num_by_module: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            module = _module_of(name, parameters)
            num_by_module[module] = num_by_module.get(module, 0) + parameter.numel()
    return num_by_module


def _is_wrapper(module: Any) -> bool:
    """Return whether a module adapts one parameter of several in the module it wraps, as fused experts are."""
    return isinstance(module, ParamWrapper)


def _module_of(name: str, wrapped_parameters: dict[str, str]) -> str:
    """Return the last part of a parameter's module; of a fused parameter, which has no module, its own name."""
    wrapper = name.partition(".lora_")[0]
    if wrapper in wrapped_parameters and wrapped_parameters[wrapper] != "weight":
        return wrapped_parameters[wrapper]
    path = name
    for marker in _INSIDE_PEFT:
        path = path.partition(marker)[0]
    for suffix in _OWN:
        path = path.removesuffix(suffix)
    return path.rpartition(".")[2]
