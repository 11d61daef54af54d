"""A server as the search varies it: its workload on the nodes that Kaito starts, and the GPU that it is judged on."""

from __future__ import annotations

from typing import Any

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.job.serving_workload import default_utilization
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.memory.serving.footprint import ServingFootprint, serving_footprint
from kaitoc.compiler.memory.serving.speed import RequestShape, ServingSpeed, serving_speed
from kaitoc.compiler.memory.serving.workload import ServingError, ServingWorkload
from kaitoc.compiler.passes.server_model import ServingContext


@dataclass(frozen=True, slots=True)
class ServingRun:
    """One server. `num_gpus` are those of a node, `num_nodes` the nodes that Kaito starts.

    `most_utilization` is the share of a GPU that vLLM itself takes where nobody says otherwise.
    """

    workload: ServingWorkload
    gpu: Gpu
    margin: float
    num_gpus: int
    num_nodes: int
    most_utilization: float
    instance: InstanceType | None = None

    @property
    def footprint(self) -> ServingFootprint | None:
        """Return the footprint of the server, None for a layout or a size that vLLM refuses."""
        try:
            return serving_footprint(self.workload, self.gpu, self.margin)
        except ServingError:
            return None

    @property
    def verdict(self) -> Verdict:
        """Return whether the server starts."""
        footprint = self.footprint
        return footprint.verdict if footprint is not None else Verdict.DOES_NOT_FIT

    def speed(self, shape: RequestShape) -> ServingSpeed | None:
        """Predict the server's speed for requests of a shape, None when it cannot hold even one."""
        footprint = self.footprint
        return serving_speed(footprint, self.gpu, self.instance, shape) if footprint is not None else None

    def varied(self, **values: Any) -> ServingRun:
        """Return the server with another workload."""
        return replace(self, workload=replace(self.workload, **values))


def run_of(job: ServingJob) -> ServingRun | None:
    """Return a server as a run, None where what it needs is unknown."""
    memory = serving_memory(job)
    if memory.workload is None or memory.footprint is None or memory.footprint.gpu is None:
        return None
    return ServingRun(
        workload=memory.workload,
        gpu=memory.footprint.gpu,
        margin=job.assumptions.margin,
        num_gpus=job.num_gpus or 1,
        num_nodes=memory.num_nodes,
        most_utilization=default_utilization(job),
        instance=job.instance.value if job.instance is not None else None,
    )


def runs_of(job: ServingJob, context: ServingContext) -> tuple[ServingRun, ...]:
    """Return the servers that a change of the job's ConfigMap touches; empty where one of them is unknown."""
    runs = [run_of(one) for one in (job, *context.siblings)]
    return tuple(run for run in runs if run is not None) if None not in runs else ()
