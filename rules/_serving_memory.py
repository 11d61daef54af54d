"""What the rules about the memory of serving share."""

from __future__ import annotations

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFault, ServingFootprint
from kaitoc.compiler.memory.serving.solve import longest_that_fits


def footprint_of(job: ServingJob) -> ServingFootprint | None:
    """Return the memory of a server on the nodes that Kaito starts, None where it is unknown."""
    return serving_memory(job).footprint


def refused_footprint(job: ServingJob, fault: ServingFault) -> ServingFootprint | None:
    """Return the memory of a server that certainly does not start for one reason, None for all others."""
    footprint = footprint_of(job)
    is_refused = footprint is not None and footprint.verdict is Verdict.DOES_NOT_FIT and footprint.fault is fault
    return footprint if is_refused else None


def utilization_place(job: ServingJob) -> Place:
    """Locate vLLM's memory limit for a finding: `gpu-memory-utilization` when set, else the GPU."""
    option = job.option_of("gpu-memory-utilization")
    return option.value if option is not None else gpu_place(job)


def gpu_place(job: ServingJob) -> Place:
    """Locate the GPU for a finding: the instance type, else the model, else the object."""
    if job.instance is not None and job.instance.place is not None:
        return job.instance.place
    return job.preset_place


def fitting_length(job: ServingJob) -> int:
    """Return the longest context that certainly fits, 0 for none."""
    memory = serving_memory(job)
    if memory.workload is None or memory.footprint is None:
        return 0
    return longest_that_fits(memory.workload, memory.footprint.gpu, job.assumptions.margin)


def larger_hint(job: ServingJob) -> str:
    """Suggest hardware that would hold the model: more nodes than Kaito starts, else larger GPUs."""
    needed = serving_memory(job).needed_nodes
    if needed is None:
        return "use larger GPUs: `kaitoc estimate --task serve --solve instance` lists instance types that fit"
    return f"it fits on {needed} nodes, which Kaito does not start; use an instance type with larger GPUs"
