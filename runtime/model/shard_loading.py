"""How a model that is sharded comes into memory: one process of a node reads it, the others get their shards.

The others have a model on the meta device, which has no values. The first process of all sends them every tensor in
turn once it is wrapped (`fsdp2_load_full_state_dict` of accelerate), so that no process but the readers ever has more
than its shards and one whole tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.model.pissa import is_pissa
from kaitoc.runtime.world import local_rank

_USES_FSDP = "ACCELERATE_USE_FSDP"


def is_sharded(plan: Plan) -> bool:
    """Return whether a process holds only its share of the model."""
    return plan.sharding == "fsdp2"


def is_read_once(plan: Plan) -> bool:
    """Return whether one process of each node reads the weights, and the others get their shards from the first.

    Weights in 4 bit are quantized where they are, and cannot be passed on (`fsdp2_prepare_model` of accelerate 1.15:
    `model_has_params4bit`); PiSSA takes its adapter from the weights, in every process.
    """
    return is_sharded(plan) and plan.quantization.method == "none" and not is_pissa(plan.lora)


def has_no_values(plan: Plan) -> bool:
    """Return whether this process has a model on the meta device until it gets its shards."""
    return is_read_once(plan) and local_rank() > 0


@contextmanager
def reading_once(plan: Plan) -> Iterator[None]:
    """Have transformers give buffers their values in processes whose weights stay on the meta device.

    It asks the environment (`is_fsdp_enabled` of transformers/distributed/fsdp.py), where `TrainingArguments` has left
    `FSDP_CPU_RAM_EFFICIENT_LOADING`, and takes the first process of a node for one that has all.
    """
    if not is_read_once(plan):
        yield
        return
    before = os.environ.get(_USES_FSDP)
    os.environ[_USES_FSDP] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_USES_FSDP]
        else:
            os.environ[_USES_FSDP] = before


def give_addresses(plan: Plan, model: torch.nn.Module) -> None:
    """Give trained parameters without values memory of their own, which nothing touches until they are split.

    accelerate knows a parameter in the optimizer again by its address (`_prepare_fsdp2`), and on the meta device all
    have one: each process but the first would train a single parameter. With mixed precision they are float32, as
    which they arrive (`fsdp2_prepare_model`).
    """
    if not has_no_values(plan):
        return
    is_mixed = plan.training.bf16 or plan.training.fp16
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is None or not value.requires_grad or not value.is_meta:
                continue
            if id(value) not in made:
                dtype = torch.float32 if is_mixed else value.dtype
                made[id(value)] = torch.nn.Parameter(torch.empty(value.shape, dtype=dtype))
            module._parameters[name] = made[id(value)]
