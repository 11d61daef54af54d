"""The time that one GPU computes for in a batch, kernel by kernel.

A kernel takes as long as its arithmetic or its traffic needs, whichever is longer (roofline, Williams et al. 2009), at
the shares of the GPU's peaks in `schemas/catalog/throughput.json`. A batch takes at least as long as the host needs to
launch its kernels.
"""

from __future__ import annotations

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.kernel import Group, Kernel, Unit
from kaitoc.compiler.memory.throughput.rates import Rates
from kaitoc.compiler.memory.throughput.work import Work
from kaitoc.compiler.memory.workload import Attention, Workload

CAUSAL_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class GroupCost:
    """What one part of the model costs in a step on one GPU."""

    group: Group
    seconds: float
    flops: float
    num_bytes: float

    def times(self, count: int) -> GroupCost:
        """Return the cost of as many batches."""
        return GroupCost(self.group, self.seconds * count, self.flops * count, self.num_bytes * count)


@dataclass(frozen=True, slots=True)
class Computation:
    """A forward and backward pass: its parts, and how much of it is backward."""

    costs: tuple[GroupCost, ...]
    backward_share: float

    @property
    def seconds(self) -> float:
        """Return the time of both passes."""
        return sum(cost.seconds for cost in self.costs)


def computation_of(workload: Workload, work: Work, rates: Rates) -> Computation:
    """Return the time that one batch of a workload takes."""
    costs, backward_seconds = _kernel_costs(workload, work, rates)
    kernel_seconds = sum(cost[0] for cost in costs.values())
    launch_seconds = work.launch_seconds(rates) - kernel_seconds
    if launch_seconds > 0:
        costs[Group.LAUNCH] = [launch_seconds, 0.0, 0.0]
    return Computation(
        tuple(GroupCost(group, *cost) for group, cost in costs.items()), backward_seconds / kernel_seconds
    )


def _kernel_costs(workload: Workload, work: Work, rates: Rates) -> tuple[dict[Group, list[float]], float]:
    """Return seconds, operations and bytes per group of both passes, and the seconds of the one back."""
    length = workload.seq_len_tokens
    tokens = workload.batch_size * length
    pairs = tokens * length
    causal = CAUSAL_SHARE if _skips_masked(workload) else 1.0
    backward_seconds = 0.0
    costs: dict[Group, list[float]] = {}
    for kernel, count, num_backward in work.kernels:
        fixed, per_token, per_pair, per_position = kernel.moved
        moved = fixed + per_token * tokens + per_pair * pairs + per_position * length
        seconds = _move_seconds(kernel, moved, rates)
        cost = costs.setdefault(kernel.group, [0.0, 0.0, 0.0])
        if kernel.unit is not Unit.NONE:
            share = causal if kernel.unit is Unit.FUSED_ATTENTION else 1.0
            seconds = max(seconds, share * _arithmetic_seconds(kernel, tokens, pairs, rates))
            cost[1] += share * count * (kernel.flops[0] + kernel.flops[1] * tokens + kernel.flops[2] * pairs)
        cost[0] += count * seconds
        backward_seconds += num_backward * seconds
        cost[2] += count * moved
    return costs, backward_seconds


def _move_seconds(kernel: Kernel, moved: int, rates: Rates) -> float:
    if kernel.group is Group.DEQUANTIZATION:
        return moved / rates.dequantization
    return moved / rates.host_lists if kernel.group is Group.HOST else rates.move_seconds(moved)


def _arithmetic_seconds(kernel: Kernel, tokens: int, pairs: int, rates: Rates) -> float:
    """Return the time of a kernel's arithmetic, for matrix products with the idle part of the last wave of tiles."""
    flops = kernel.padded_flops
    seconds = (flops[0] + flops[1] * tokens + flops[2] * pairs) / rates.flops[kernel.unit]
    if kernel.unit is Unit.HALF and kernel.columns:
        elements = kernel.row_elements[0] + kernel.row_elements[1] * tokens
        seconds /= rates.wave_share(max(1, elements // kernel.row_length), kernel.columns)
    return seconds


def _skips_masked(workload: Workload) -> bool:
    """Whether the attention kernel leaves out the masked half of the scores.

    FlashAttention does. PyTorch's does when no mask is given, which transformers leaves out for a batch without
    padding (`masking_utils.py`, `_ignore_causal_mask_sdpa`): surely for one sequence.
    """
    return workload.attention is Attention.FLASH or workload.batch_size == 1
