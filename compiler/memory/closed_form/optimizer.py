"""Optimizer state and what a step allocates while it runs."""

from __future__ import annotations

import math

from kaitoc.compiler.memory.closed_form.graph import StepScratch
from kaitoc.compiler.memory.closed_form.size import FLOAT32_BYTES
from kaitoc.compiler.memory.workload import Optimizer, Workload

BLOCK_8BIT = 256
MIN_8BIT_ELEMENTS = 4096
MIN_PAGED_ELEMENTS = 100_000

TrainableTensors = tuple[tuple[int, int, int], ...]


def state_bytes(optimizer: Optimizer, trainable: TrainableTensors) -> int:
    """Return the bytes of optimizer state for (count, elements, bytes per element) of trainable tensors.

    AdamW keeps two tensors of the parameter's type (`torch/optim/adamw.py`). bitsandbytes keeps two bytes per element
    and two float32 per block of 256, float32 below 4,096 elements; paged tensors of 100,000 elements and more live in
    managed memory (`bitsandbytes/optim/optimizer.py`, `get_state_buffer`). Adafactor keeps float32 row and column
    sums (`transformers/optimization.py`), counted as two square-root sides. SGD without momentum keeps nothing.
    """
    return sum(count * _tensor_state_bytes(optimizer, elements, size) for count, elements, size in trainable)


def state_sizes(optimizer: Optimizer, trainable: TrainableTensors) -> list[int]:
    """Return the bytes of every state tensor, two per parameter where there is state."""
    sizes = []
    for count, elements, size in trainable:
        half = _tensor_state_bytes(optimizer, elements, size) // 2
        sizes += [half] * (2 * count if half else 0)
    return sizes


def step_sizes(optimizer: Optimizer, trainable: TrainableTensors) -> list[int]:
    """Return the bytes of every tensor that one step holds at once."""
    if optimizer is Optimizer.ADAMW:
        return [elements * size for count, elements, size in trainable for _ in range(count)]
    largest = step_bytes(optimizer, trainable)
    return [largest // 4] * 4 if largest else []


def step_bytes(optimizer: Optimizer, trainable: TrainableTensors) -> int:
    """Return the bytes that one step holds besides parameters, gradients and state.

    The foreach AdamW takes the square roots of all second moments at once, one more tensor per parameter
    (`_multi_tensor_adam`); the fused one works in registers. Adafactor widens gradient and parameter to float32, where
    they are not, and forms the squared gradient and the update, for one tensor at a time.
    """
    if optimizer is Optimizer.ADAMW:
        return sum(count * elements * size for count, elements, size in trainable)
    if optimizer is Optimizer.ADAFACTOR:
        return max((elements * _adafactor_scratch(size) for _, elements, size in trainable), default=0)
    return 0


def _adafactor_scratch(element_bytes: int) -> int:
    is_half = element_bytes < FLOAT32_BYTES
    return 4 * FLOAT32_BYTES if is_half else 2 * element_bytes


def step_scratch_of(workload: Workload, trainable: TrainableTensors) -> StepScratch | None:
    """Build the function from a gradient's bytes to the scratch of its step, None unless backward steps."""
    if not workload.steps_in_backward:
        return None
    size = min((size for _, _, size in trainable), default=FLOAT32_BYTES)
    return lambda num_bytes: step_bytes(workload.optimizer, ((1, num_bytes // size, size),))


def _tensor_state_bytes(optimizer: Optimizer, elements: int, num_bytes: int) -> int:
    if optimizer in (Optimizer.ADAMW, Optimizer.ADAMW_FUSED):
        return 2 * elements * num_bytes
    if optimizer in (Optimizer.ADAMW_8BIT, Optimizer.PAGED_ADAMW_8BIT):
        if elements < MIN_8BIT_ELEMENTS:
            return 2 * elements * FLOAT32_BYTES
        constants = 2 * FLOAT32_BYTES * math.ceil(elements / BLOCK_8BIT)
        is_paged = optimizer is Optimizer.PAGED_ADAMW_8BIT and elements >= MIN_PAGED_ELEMENTS
        return constants + (0 if is_paged else 2 * elements)
    if optimizer is Optimizer.ADAFACTOR:
        return 2 * FLOAT32_BYTES * math.isqrt(elements)
    return 0
