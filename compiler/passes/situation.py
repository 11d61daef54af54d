"""The runs that a change of a ConfigMap touches, as the search judges them."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import Gpu, InstanceType
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import accumulation_steps_of, pads, workload_of
from kaitoc.compiler.job.possible import instance_type_of
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.passes.model import PassContext


@dataclass(frozen=True, slots=True)
class Situation:
    """One run to satisfy: its training step as it is now and the GPUs that it runs on.

    `pads`: sequences of one batch are padded to one length. `instance` is the kind of machine, None where only the
    GPU is known.
    """

    workload: Workload
    gpu: Gpu
    num_gpus: int
    margin: float
    accumulation_steps: int
    pads: bool
    instance: InstanceType | None

    @property
    def effective_batch(self) -> int:
        """Return the sequences per GPU and optimizer step."""
        return self.workload.batch_size * self.accumulation_steps


def situations(job: Job, context: PassContext) -> tuple[Situation, ...]:
    """Return the runs that a change of the job's ConfigMap touches; empty when one of them cannot be predicted."""
    found = []
    for one in (job, *context.siblings):
        workload = workload_of(one)
        if workload is None or one.gpu is None:
            return ()
        found.append(_situation(one, workload, one.gpu.value, one.num_gpus, instance_type_of(one)))
    return tuple(found)


def situations_on(job: Job, gpu: Gpu, instance: InstanceType) -> tuple[Situation, ...]:
    """Return the run as it would be on the GPUs of another machine; empty when the job cannot be predicted."""
    workload = workload_of(job)
    if workload is None:
        return ()
    num_gpus = instance.num_gpus
    return (_situation(job, replace(workload, num_gpus=num_gpus), gpu, num_gpus, instance),)


def _situation(job: Job, workload: Workload, gpu: Gpu, num_gpus: int, instance: InstanceType | None) -> Situation:
    return Situation(workload, gpu, num_gpus, job.assumptions.margin, accumulation_steps_of(job), pads(job), instance)
