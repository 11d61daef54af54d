"""Slots for adapters, which are allocated for every linear layer whether or not an adapter touches it."""

from __future__ import annotations

from kaitoc.compiler.memory.serving.shape import AdaptedLinears
from kaitoc.compiler.memory.serving.weights import Stage
from kaitoc.compiler.memory.serving.workload import LoraSlots, ServingWorkload

_HALF_BYTES = 2


def slots_bytes(workload: ServingWorkload, stage: Stage) -> int:
    """Return the bytes that the slots of a rank take (`create_lora_weights` in vllm/lora/layers)."""
    slots, ranks = workload.lora, workload.tensor_parallel
    if slots is None:
        return 0
    model = workload.model
    per_rank = 0
    for index in stage.layers:
        weights = model.layers[index].weights
        per_rank += _features(weights.adapted, slots, ranks)
        if model.experts is not None and weights.experts:
            shape = model.experts
            inside = AdaptedLinears().with_mlp(model.hidden_size, shape.intermediate_size, 2, shape.num)
            per_rank += _features(inside, slots, ranks)
    return per_rank * slots.max_loras * slots.max_rank * _HALF_BYTES


def _features(linears: AdaptedLinears, slots: LoraSlots, ranks: int) -> int:
    """Return the features of both matrices: A reads the inputs, B writes the outputs.

    A layer divided by outputs has A in full, one divided by inputs B in full, unless slots are fully sharded.
    """
    whole = linears.column_inputs + linears.row_outputs
    divided = linears.column_outputs + linears.row_inputs
    return (whole // ranks if slots.is_fully_sharded else whole) + divided // ranks
