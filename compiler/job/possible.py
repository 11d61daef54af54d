"""Whether the GPUs that are stated for a job can be its."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.closed_form.footprint import as_shared
from kaitoc.compiler.memory.closed_form.validation import validate
from kaitoc.compiler.memory.workload import Workload, WorkloadError


def missing_gpus(job: Job) -> str:
    """Say how to fix more GPUs than a job's nodes have; empty when they have enough."""
    stated, assumed = job.instance_type, job.assumptions
    if stated is None or assumed.num_gpus is None or assumed.gpu is not None:
        return ""
    instance = find_instance_type(stated.value)
    return lacking_gpus(instance, assumed.num_gpus, assumed.sharing.num_nodes) if instance is not None else ""


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
