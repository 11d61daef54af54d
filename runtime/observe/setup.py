"""Names what a run trains with, in one line at its start: what a report of a fault has to say first."""

from __future__ import annotations

from typing import Any

import torch

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.observe.device import asked, driver_version


def describe_setup(plan: Plan, device: str, trainer: Any) -> str:
    """Return device, driver, data types, attention kernel, loss and processes of a run that is about to train."""
    attention = getattr(trainer.model.config, "_attn_implementation", None)
    parts = [
        _device(device),
        _data_types(plan, trainer),
        f"attention {attention}" if attention else "",
        _loss(plan, trainer),
        "1 process" if plan.num_processes == 1 else f"{plan.num_processes} processes ({_sharing(plan)})",
    ]
    return ", ".join(part for part in parts if part)


def _sharing(plan: Plan) -> str:
    if plan.shard_group is None:
        return plan.sharding
    return f"{plan.sharding}, {plan.num_processes // plan.shard_group} groups of {plan.shard_group}"


def _loss(plan: Plan, trainer: Any) -> str:
    if plan.dpo is not None:
        return f"loss dpo, beta {plan.dpo.beta:g}"
    return f"loss {trainer.args.loss_type}" + (" by Liger" if trainer.args.use_liger_kernel else " in chunks")


def _device(device: str) -> str:
    if device == "cpu":
        return "CPU"
    name = asked(torch.cuda.get_device_name) or "a GPU of no name"
    driver = driver_version()
    return f"{name} (driver {driver})" if driver is not None else name


def _data_types(plan: Plan, trainer: Any) -> str:
    """Return the type of the weights, and the type that they are computed in where it is another."""
    method = plan.quantization.method
    weights = method if method != "none" else str(trainer.model.dtype).removeprefix("torch.")
    computed = trainer.args.mixed_precision
    return f"{weights} weights" + (f", {computed} autocast" if computed != "no" else "")
