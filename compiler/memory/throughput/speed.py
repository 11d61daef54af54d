"""How fast a fine-tuning run goes: the time of a training step by what its GPUs compute, move and send each other.

The work of a step is counted kernel by kernel (`throughput/work.py`) and kept per architecture and method; what several
GPUs add is counted collective by collective (`throughput/exchange.py`).
"""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, stand_in_for
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.memory.closed_form.kernel import Group
from kaitoc.compiler.memory.closed_form.validation import validate
from kaitoc.compiler.memory.sharding.model import Offload
from kaitoc.compiler.memory.throughput.computation import GroupCost, computation_of
from kaitoc.compiler.memory.throughput.rates import Rates, rates_of
from kaitoc.compiler.memory.throughput.work import work_of
from kaitoc.compiler.memory.workload import Workload, WorkloadError


@dataclass(frozen=True, slots=True)
class Throughput:
    """A predicted speed.

    `tokens_per_second` counts padded tokens over all GPUs, between `low_tokens_per_second` where links are as slow as
    they can be and hide nothing, and `high_tokens_per_second`; `assumptions` say what is not known of the links and the
    GPU, and what is not counted.
    `step_seconds` lasts from one optimizer step to the next. `flops_per_step` and `bytes_per_step` are one GPU's.
    `breakdown` sums to `step_seconds`, the longest part first.
    """

    tokens_per_second: float
    low_tokens_per_second: float
    high_tokens_per_second: float
    assumptions: tuple[str, ...]
    step_seconds: float
    tokens_per_step: int
    flops_per_step: float
    bytes_per_step: float
    num_gpus: int
    breakdown: tuple[GroupCost, ...]

    def seconds_of(self, group: Group) -> float:
        """Return the seconds of a step that one part of the model takes, 0 where it has none."""
        return sum(cost.seconds for cost in self.breakdown if cost.group is group)


def throughput(
    workload: Workload,
    gpu: Gpu,
    num_gpus: int | None = None,
    *,
    accumulation_steps: int = 1,
    instance: InstanceType | None = None,
) -> Throughput:
    """Return the predicted speed of a workload on `num_gpus` GPUs (by default the workload's) of a kind of machine.

    `accumulation_steps` batches are run between two optimizer steps. Raises `WorkloadError` for a workload that no run
    can have.
    """
    num_gpus = workload.num_gpus if num_gpus is None else num_gpus
    if num_gpus < 1 or accumulation_steps < 1:
        raise WorkloadError(
            f"the number of GPUs and of accumulation steps must be at least 1, not {num_gpus} and {accumulation_steps}"
        )
    if num_gpus != workload.num_gpus:
        workload = replace(workload, num_gpus=num_gpus, sharding=replace(workload.sharding, num_nodes=1))
    validate(workload)
    if num_gpus > 1:
        return _on_several(workload, gpu, instance, accumulation_steps)
    work = work_of(workload)
    rates = rates_of(gpu, work.half_dtype, work.stack_name)
    costs = [cost.times(accumulation_steps) for cost in computation_of(workload, work, rates).costs]
    costs.append(_optimizer_cost(work.optimizer_bytes(workload.optimizer), rates))
    return _result(workload, gpu, costs, accumulation_steps)


def _optimizer_cost(num_bytes: int, rates: Rates) -> GroupCost:
    return GroupCost(Group.OPTIMIZER, num_bytes / rates.stream_bandwidth, 0.0, float(num_bytes))


def _on_several(workload: Workload, gpu: Gpu, instance: InstanceType | None, accumulation_steps: int) -> Throughput:
    from kaitoc.compiler.memory.closed_form.footprint import as_shared  # one GPU has nothing to share
    from kaitoc.compiler.memory.throughput import exchange as several  # a dozen modules for few jobs
    from kaitoc.compiler.memory.throughput.links import links_of  # as above

    workload = as_shared(workload, gpu)
    computed = several.as_timed(workload)
    work = work_of(computed)
    rates = rates_of(gpu, work.half_dtype, work.stack_name)
    batch = computation_of(computed, work, rates)
    costs = [cost.times(accumulation_steps) for cost in batch.costs]
    costs.append(_optimizer_cost(several.optimizer_bytes_of(workload), rates))
    alone = sum(cost.seconds for cost in costs)
    passes = several.Passes(batch.seconds * (1.0 - batch.backward_share), batch.seconds * batch.backward_share)
    links = links_of(workload, gpu, instance)
    likely, slowest, fastest = (
        several.exchange(workload, one, rates, beside, accumulation_steps)
        for one, beside in ((links.likely, passes), (links.slowest, several.NO_OVERLAP), (links.fastest, passes))
    )
    waiting = alone * several.waiting_share(workload.num_gpus)
    costs.append(GroupCost(Group.COMMUNICATION, likely.seconds, 0.0, likely.num_bytes))
    costs.append(GroupCost(Group.WAITING, waiting, 0.0, 0.0))
    result = _result(workload, gpu, costs, accumulation_steps)
    return replace(
        result,
        low_tokens_per_second=result.tokens_per_step / (alone + slowest.seconds + 2 * waiting),
        high_tokens_per_second=result.tokens_per_step / (alone + fastest.seconds),
        assumptions=(*links.assumptions, *result.assumptions),
    )


def _assumed_of(gpu: Gpu) -> tuple[str, ...]:
    """Name the GPU whose speed is assumed for one that is only known by its memory."""
    like = stand_in_for(gpu)
    return () if like is None else (f"{like.name} speed is assumed for the {gpu.name}",)


def _not_counted(workload: Workload) -> tuple[str, ...]:
    """List in sentences what the predicted time leaves out."""
    offload = workload.sharding.offload
    offloaded = [offload.value] if offload is not Offload.NONE else []
    if workload.offloads_activations:
        offloaded.append("activations")
    return tuple(f"{what} offloaded: copies to the host and back are not counted" for what in offloaded)


def _result(workload: Workload, gpu: Gpu, costs: list[GroupCost], accumulation_steps: int) -> Throughput:
    seconds = sum(cost.seconds for cost in costs)
    tokens = workload.batch_size * workload.seq_len_tokens * workload.num_gpus * accumulation_steps
    return Throughput(
        tokens_per_second=tokens / seconds,
        low_tokens_per_second=tokens / seconds,
        high_tokens_per_second=tokens / seconds,
        assumptions=(*_assumed_of(gpu), *_not_counted(workload)),
        step_seconds=seconds,
        tokens_per_step=tokens,
        flops_per_step=sum(cost.flops for cost in costs),
        bytes_per_step=sum(cost.num_bytes for cost in costs),
        num_gpus=workload.num_gpus,
        breakdown=tuple(sorted(costs, key=lambda cost: -cost.seconds)),
    )
