"""Finds how many GPUs a fine-tune needs, and how large it may be on those it has."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import custom_gpu, find_instance_type
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.summary import Solved
from kaitoc.compiler.memory.estimate import EstimateError, has_closed_form
from kaitoc.compiler.memory.result import Phase
from kaitoc.compiler.memory.sharing import why_whole, word_of_shards
from kaitoc.compiler.memory.solve import SolvedSize, largest, resized
from kaitoc.compiler.memory.solve_gpus import MAX_NODES, Machine, Placement, machines, smallest_placement
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.report.wording import plural
from kaitoc.estimating import Estimate, Subject, predict


@dataclass(frozen=True, slots=True)
class Solution:
    """The fewest GPUs that a fine-tune fits on, None where no number does, and what it needs there.

    Without a placement the estimate is that on the most GPUs that were looked at, of the largest kind.
    """

    placement: Placement | None
    estimate: Estimate

    @property
    def fits(self) -> bool:
        """Return whether some number of GPUs up to the largest one tried is enough."""
        return self.placement is not None

    @property
    def words(self) -> str:
        """Format the answer as the line that `kaitoc estimate --solve` ends with."""
        place = self.placement
        if place is not None:
            instance = place.machine.instance
            on = f" ({plural(place.num_nodes, 'node')} of {instance.name})" if instance is not None else ""
            return f"smallest that fits: {plural(place.num_gpus, 'GPU')}, {place.machine.gpu.name}{on}"
        return f"no number of GPUs certainly fits: {self._obstacle}"

    @property
    def _obstacle(self) -> str:
        """Say what of a run no number of GPUs makes smaller, or that so many are still too few."""
        workload, predicted = self.estimate.subject.workload, self.estimate.footprint
        sharding, peak, gpu = predicted.sharding, predicted.peak.categories, self.estimate.subject.gpu
        if not sharding.is_sharded:
            word = word_of_shards(find_stack(workload.stack))
            return why_whole(workload) or f"each GPU holds a whole copy (ddp); `--sharding {word}` estimates shards"
        if sharding.shard_group is not None:
            group = sharding.shard_group
            return f"a copy has to fit on {group} GPUs; leave --shard-group out, or make the groups larger"
        divided_bytes = peak.weights + peak.adapters + peak.gradients + peak.optimizer
        if gpu is not None and 2 * divided_bytes > peak.total:
            when = " while it is loaded" if predicted.peak.phase is Phase.LOAD else ""
            share = f"{gib(divided_bytes)} GiB of each{when}"
            return f"even over {predicted.num_gpus} {gpu.name} the model takes {share}; use larger GPUs"
        return "gathered layers, activations and logits are not divided; shorten the sequences, or lower the batch size"


@dataclass(frozen=True, slots=True)
class LargestSize:
    """The largest batch, length or rank with which a fine-tune certainly fits, and what it needs with it.

    Where it fits with none, the value is 0 and the estimate that of the smallest.
    """

    size: SolvedSize
    value: int
    estimate: Estimate

    @property
    def fits(self) -> bool:
        """Return whether the run fits with any value."""
        return self.value > 0

    @property
    def words(self) -> str:
        """Format the answer as the line that `kaitoc estimate --solve` ends with."""
        gpu = self.estimate.subject.gpu
        name = gpu.name if gpu is not None else ""
        if not self.value:
            return f"no {self.size.value} certainly fits {name}: not even 1"
        return f"largest that certainly fits {name}: --{self.size.value} {self.value}"


def solve_size(subject: Subject, size: SolvedSize) -> LargestSize:
    """Return the largest value of a size with which a fine-tune certainly fits its GPU.

    Raises `EstimateError` without a GPU, or where only the trace tells the memory, and `WorkloadError` for a rank where
    there are no adapters.
    """
    workload, gpu = subject.workload, subject.gpu
    if gpu is None:
        raise EstimateError(f"--solve {size.value} needs a GPU as its limit: name one with --gpu or --gpu-memory")
    if not has_closed_form(workload.architecture):
        raise EstimateError(f"--solve {size.value} needs a model with a closed form; this one can only be traced")
    value = largest(workload, size, gpu, subject.margin)
    solved = replace(subject, workload=resized(workload, size, max(1, value)))
    return LargestSize(size, value, predict(replace(solved, job=replace(subject.job, solved=Solved(size, value)))))


def solve_gpus(subject: Subject, gpu_name: str | None) -> Solution:
    """Return the fewest GPUs that a fine-tune certainly fits on, of a named GPU or instance type, else of any.

    Raises `EstimateError` where only the trace tells its memory, `WorkloadError` for what no run can be.
    """
    if not has_closed_form(subject.workload.architecture):
        raise EstimateError("--solve gpus needs a model with a closed form; try values of --gpus one by one")
    choices = _machines(subject, gpu_name)
    placement = smallest_placement(subject.workload, choices, subject.margin)
    if placement is None:
        largest = max(choices, key=lambda one: (one.gpu.memory_bytes, one.num_gpus))
        return Solution(None, predict(_on(subject, Placement(largest, MAX_NODES))))
    return Solution(placement, predict(_on(subject, placement)))


def _machines(subject: Subject, gpu_name: str | None) -> list[Machine]:
    instance = find_instance_type(gpu_name) if gpu_name is not None else None
    if instance is not None and instance.gpu is not None:
        return [Machine(instance.gpu, instance.num_gpus, instance)]
    is_stated = gpu_name is not None or (subject.gpu is not None and subject.gpu.model == custom_gpu(1).model)
    return machines(subject.gpu if is_stated else None)


def _on(subject: Subject, placement: Placement) -> Subject:
    instance = placement.machine.instance
    job = replace(subject.job, instance_type=instance.name if instance is not None else "")
    return replace(subject, workload=placement.of(subject.workload), gpu=placement.machine.gpu, job=job)
