"""How fast one fine-tuning run goes: the time of a training step by what a GPU computes and moves.

The work of a step is counted kernel by kernel (`throughput/work.py`) and kept per architecture
and method; a kernel takes as long as its arithmetic or its traffic needs, whichever is longer (roofline, Williams et
al. 2009), at the shares of the GPU's peaks in `schemas/catalog/throughput.json`. A step takes at least as long as the
host needs to launch its kernels.
"""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.closed_form.kernel import Group, Kernel, Unit
from kaitoc.compiler.memory.closed_form.validation import validate
from kaitoc.compiler.memory.throughput.rates import Rates, rates_of
from kaitoc.compiler.memory.throughput.work import Work, work_of
from kaitoc.compiler.memory.workload import Attention, Workload, WorkloadError

CAUSAL_SHARE = 0.5
BACKWARD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class GroupCost:
    """What one part of the model costs in a step on one GPU."""

    group: Group
    seconds: float
    flops: float
    num_bytes: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """A predicted speed.

    `tokens_per_second` counts padded tokens over all GPUs; `step_seconds` lasts from one optimizer step to the next.
    `flops_per_step` and `bytes_per_step` are one GPU's. `breakdown` sums to `step_seconds`, the longest part first.
    """

    tokens_per_second: float
    step_seconds: float
    tokens_per_step: int
    flops_per_step: float
    bytes_per_step: float
    num_gpus: int
    breakdown: tuple[GroupCost, ...]

    def seconds_of(self, group: Group) -> float:
        """Return the seconds of a step that one part of the model takes, 0 where it has none."""
        return sum(cost.seconds for cost in self.breakdown if cost.group is group)


def throughput(workload: Workload, gpu: Gpu, num_gpus: int | None = None, *, accumulation_steps: int = 1) -> Throughput:
    """Return the predicted speed of a workload on `num_gpus` GPUs (by default the workload's), data-parallel.

    `accumulation_steps` batches are run between two optimizer steps. Raises `WorkloadError` for a workload that no
    run can have.
    """
    validate(workload)
    num_gpus = workload.num_gpus if num_gpus is None else num_gpus
    if num_gpus < 1 or accumulation_steps < 1:
        raise WorkloadError(
            f"the number of GPUs and of accumulation steps must be at least 1, not {num_gpus} and {accumulation_steps}"
        )
    work = work_of(workload)
    rates = rates_of(gpu, work.half_dtype, work.stack_name)
    costs = _kernel_costs(workload, work, rates)
    launch_seconds = work.launch_seconds(rates) - sum(cost[0] for cost in costs.values())
    if launch_seconds > 0:
        costs[Group.LAUNCH] = [launch_seconds, 0.0, 0.0]
    for cost in costs.values():
        cost[:] = [part * accumulation_steps for part in cost]
    optimizer_bytes = work.optimizer_bytes(workload.optimizer)
    costs[Group.OPTIMIZER] = [optimizer_bytes / rates.stream_bandwidth, 0.0, float(optimizer_bytes)]
    if num_gpus > 1:
        backward_seconds = BACKWARD_SHARE * sum(cost[0] for cost in costs.values()) / accumulation_steps
        seconds, num_bytes = _communication(work.gradient_bytes, num_gpus, rates, backward_seconds)
        costs[Group.COMMUNICATION] = [seconds, 0.0, num_bytes]
    return _result(workload, costs, num_gpus, accumulation_steps)


def _kernel_costs(workload: Workload, work: Work, rates: Rates) -> dict[Group, list[float]]:
    """Return seconds, operations and bytes per group of one forward and backward pass."""
    length = workload.seq_len_tokens
    tokens = workload.batch_size * length
    pairs = tokens * length
    causal = CAUSAL_SHARE if _skips_masked(workload) else 1.0
    costs: dict[Group, list[float]] = {}
    for kernel, count in work.kernels:
        fixed, per_token, per_pair, per_position = kernel.moved
        moved = fixed + per_token * tokens + per_pair * pairs + per_position * length
        seconds = moved / rates.dequantization if kernel.group is Group.DEQUANTIZATION else rates.move_seconds(moved)
        cost = costs.setdefault(kernel.group, [0.0, 0.0, 0.0])
        if kernel.unit is not Unit.NONE:
            share = causal if kernel.unit is Unit.FUSED_ATTENTION else 1.0
            seconds = max(seconds, share * _arithmetic_seconds(kernel, tokens, pairs, rates))
            cost[1] += share * count * (kernel.flops[0] + kernel.flops[1] * tokens + kernel.flops[2] * pairs)
        cost[0] += count * seconds
        cost[2] += count * moved
    return costs


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


def _communication(gradient_bytes: int, num_gpus: int, rates: Rates, backward_seconds: float) -> tuple[float, float]:
    """Return the seconds that a ring all-reduce of the gradients adds to a step, and its bytes per GPU.

    Each GPU sends 2 (n - 1) / n of the gradients (Patarasuk and Yuan 2009). DDP sends buckets of 25 MiB while backward
    runs (`torch/nn/parallel/distributed.py`), so that the last bucket and what backward is too short for remain.
    """
    num_bytes = 2.0 * (num_gpus - 1) / num_gpus * gradient_bytes
    seconds = num_bytes / rates.link
    last = min(1.0, rates.bucket_bytes / max(1, gradient_bytes)) * seconds
    return max(last, seconds - backward_seconds), num_bytes


def _result(workload: Workload, costs: dict[Group, list[float]], num_gpus: int, accumulation_steps: int) -> Throughput:
    seconds = sum(cost[0] for cost in costs.values())
    tokens = workload.batch_size * workload.seq_len_tokens * num_gpus * accumulation_steps
    breakdown = [GroupCost(group, *cost) for group, cost in costs.items()]
    breakdown.sort(key=lambda cost: -cost.seconds)
    return Throughput(
        tokens_per_second=tokens / seconds,
        step_seconds=seconds,
        tokens_per_step=tokens,
        flops_per_step=sum(cost.flops for cost in breakdown),
        bytes_per_step=sum(cost.num_bytes for cost in breakdown),
        num_gpus=num_gpus,
        breakdown=tuple(breakdown),
    )
