"""Whether the GPUs that are stated for a job can be its."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.closed_form.footprint import as_shared
from kaitoc.compiler.memory.closed_form.validation import validate
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
    if num_gpus < 1:
        return f"the number of GPUs must be at least 1, not {num_gpus}"
    return lacking_gpus(instance, num_gpus, job.assumptions.sharing.num_nodes) if instance is not None else ""


def why_impossible(job: Job, workload: Workload) -> str:
    """Return why no GPUs can share a job's model as it is stated, with the nearest that can; empty where they can."""
    try:
        validate(as_shared(workload, job.gpu.value if job.gpu is not None else None))
    except WorkloadError as error:
        return str(error)
    return ""


def lacking_gpus(instance: InstanceType, num_gpus: int, num_nodes: int) -> str:
    """Say how to fix more GPUs than this many nodes of an instance type have; empty when they have enough."""
    num_nodes = max(1, num_nodes)
    if num_gpus <= instance.num_gpus * num_nodes:
        return ""
    gpus = "1 GPU" if instance.num_gpus == 1 else f"{instance.num_gpus} GPUs"
    return (
        f"{instance.name} has {gpus}; {num_gpus} need --nodes {-(-num_gpus // instance.num_gpus)}, or take "
        f"--gpus {instance.num_gpus * num_nodes}"
    )
