"""What makes a run fit that no change of its batch or its checkpointing does: shorter rows, a larger GPU, shards."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType, all_instance_types, find_instance_type
from kaitoc.compiler.catalog.instance_listing import is_removed
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.closed_form.footprint import fits
from kaitoc.compiler.memory.sharing import sharded, why_whole
from kaitoc.compiler.memory.solve import SolvedSize, largest
from kaitoc.compiler.memory.solve_gpus import Machine, Placement, machines, smallest_placement
from kaitoc.compiler.memory.workload import Workload, WorkloadError

_SHORTEST_TOKENS = 128
"""Rows cut to less are no longer the data."""
_DEFAULT_CLOUD = "azure"


def ways_to_fit(job: Job, gpu: Gpu, workload: Workload) -> Iterator[str]:
    """Yield the first that works of shorter rows and a larger GPU, both where both do, else shards by `kaitoc run`."""
    margin = job.assumptions.margin
    shorter, larger = _shorter_rows(workload, gpu, margin), _larger(job, workload)
    if shorter:
        option = f"`max_length: {shorter}`" if job.assumptions.seq_len_tokens is None else f"--seq-len {shorter}"
        yield f"with {option} it fits, longer rows truncated"
    if larger:
        yield larger
    if not (shorter or larger):
        none = f"no instance type that {job.release.name} lists holds it, whole or sharded; choose a smaller model"
        yield _shards(workload, margin) or none


def _larger(job: Job, workload: Workload) -> str:
    """Return the smallest instance type that holds a run as it is, else with the least activations; empty for none."""
    least = replace(workload, gradient_checkpointing=True, batch_size=workload.rows_per_example)
    for candidate, change in ((workload, ""), (least, "with both checkpointing and a batch of 1 ")):
        for one in _listed(job):
            if _fits(candidate, one, job.assumptions.margin):
                option = f" (--gpu {one.name})" if job.assumptions.gpu is not None else ""
                return f"{change}it fits on {one.name}{option}"
    return ""


def _shorter_rows(workload: Workload, gpu: Gpu, margin: float) -> int:
    """Return the length in tokens, a power of two, that rows have to be cut to, 0 where none is long enough."""
    try:
        longest = largest(workload, SolvedSize.SEQ_LEN, gpu, margin)
    except WorkloadError:
        return 0
    return 1 << (longest.bit_length() - 1) if longest >= _SHORTEST_TOKENS else 0


def _listed(job: Job) -> list[InstanceType]:
    """Return the instance types of the job's cloud that its release lists, the smallest first."""
    stated = find_instance_type(job.instance_type.value) if job.instance_type is not None else None
    cloud = stated.cloud if stated is not None else _DEFAULT_CLOUD
    listed = [one for one in all_instance_types() if one.cloud == cloud and not is_removed(one, job.release)]
    return sorted(listed, key=lambda one: (one.num_gpus, one.gpu.memory_bytes if one.gpu is not None else 0, one.name))


def _fits(workload: Workload, instance: InstanceType, margin: float) -> bool:
    if instance.gpu is None:
        return False
    try:
        return fits(Placement(Machine(instance.gpu, instance.num_gpus), 1).of(workload), instance.gpu, margin)
    except WorkloadError:
        return False


def _shards(workload: Workload, margin: float) -> str:
    """Return on how many GPUs of which kind `kaitoc run` could shard it; empty for none."""
    if why_whole(workload):
        return ""
    try:
        found = smallest_placement(replace(workload, sharding=sharded(workload)), machines(), margin)
    except WorkloadError:
        return ""
    if found is None:
        return ""
    return f"`kaitoc run --sharding fsdp2` fits it on {found.num_gpus} {found.machine.gpu.name}"
