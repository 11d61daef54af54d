"""Whether the GPUs that are stated for a job can be its."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.closed_form.footprint import as_shared
from kaitoc.compiler.memory.closed_form.validation import (
    MIN_SHARDS,
    can_run,
    fewest_gpus,
    nearest_divisor,
    validate,
    validate_count,
)
from kaitoc.compiler.memory.sharding.model import WHOLE_COPIES
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES, SharingRequest
from kaitoc.compiler.memory.workload import Workload, WorkloadError


def instance_type_of(job: Job) -> InstanceType | None:
    """Return the instance type that a job runs on: the assumed one, else the Workspace's."""
    if job.assumptions.gpu is not None:
        return job.assumptions.instance_type
    return find_instance_type(job.instance_type.value) if job.instance_type is not None else None


def missing_gpus(job: Job) -> str:
    """Say how to fix a number of GPUs that a job's nodes do not have; empty when they have it."""
    num_gpus, instance = job.assumptions.num_gpus, instance_type_of(job)
    if num_gpus is None:
        return ""
    try:
        validate_count(num_gpus)
    except WorkloadError as error:
        return str(error)
    sharing = job.assumptions.sharing
    return lacking_gpus(instance, num_gpus, sharing.num_nodes, sharing) if instance is not None else ""


def why_impossible(job: Job, workload: Workload) -> str:
    """Return why no GPUs can share a job's model as it is stated, with the nearest that can; empty where they can."""
    try:
        validate(as_shared(workload, job.gpu.value if job.gpu is not None else None))
    except WorkloadError as error:
        return f"{error}{more_nodes(workload, instance_type_of(job))}"
    return ""


def more_nodes(workload: Workload, instance: InstanceType | None) -> str:
    """Say how many nodes have the GPUs that a workload lacks to be shared as stated; empty where one node has them."""
    fewest = fewest_gpus(workload.sharding)
    if instance is None or workload.num_gpus >= fewest or fewest <= instance.num_gpus:
        return ""
    return f" ({count_of_gpus(instance)}: add --nodes {-(-fewest // instance.num_gpus)})"


def why_not_shared(job: Job, workload: Workload) -> str:
    """Return why a job's GPUs cannot share a model that one of them could train, as `why_impossible` does."""
    alone = replace(workload, num_gpus=1, sharding=WHOLE_COPIES)
    return why_impossible(job, workload) if can_run(alone) else ""


def lacking_gpus(
    instance: InstanceType, num_gpus: int, num_nodes: int, sharing: SharingRequest = AS_THE_STACK_DOES
) -> str:
    """Say how to fix more GPUs than the stated nodes of an instance type have; empty when they have enough.

    So it is where the nodes could be enough, but no number near theirs divides the GPUs. All that the nodes have are no
    way out where the stated way of sharing needs more.
    """
    num_nodes, per_node = max(1, num_nodes), instance.num_gpus
    nearest = nearest_divisor(num_gpus, num_nodes)
    if num_gpus <= per_node * min(num_nodes, nearest):
        return ""
    fewest = next(nodes for nodes in range(-(-num_gpus // per_node), num_gpus + 1) if num_gpus % nodes == 0)
    held, group = per_node * num_nodes, sharing.shard_group
    can_share = not sharing.is_sharded or (held >= MIN_SHARDS and (group is None or held % group == 0))
    fewer = f", or take --gpus {held}" if can_share else ""
    return f"{count_of_gpus(instance)}; {num_gpus} need --nodes {fewest}{fewer}"


def count_of_gpus(instance: InstanceType) -> str:
    """Say how many GPUs an instance type has."""
    return f"{instance.name} has {instance.num_gpus} GPU{'s' if instance.num_gpus > 1 else ''}"
