"""What rules about memory ask: where to point, and what another configuration would need."""

from __future__ import annotations

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job import memory as job_memory
from kaitoc.compiler.job.job import Job, Target
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.memory.result import Footprint
from kaitoc.compiler.memory.workload import Workload

GRADIENT_CHECKPOINTING = "gradient_checkpointing"


def option_place(job: Job, section: str, name: str) -> Place:
    """Locate an option for a finding, or its section when it is unset."""
    option = job.option(section, name)
    return job.place_of(option) if option is not None else job.section_place(section)


def gpu_place(job: Job) -> Place:
    """Locate the choice of GPU for a finding, else the batch size."""
    if job.gpu is not None and job.gpu.place is not None:
        return job.gpu.place
    return option_place(job, "TrainingArguments", "per_device_train_batch_size")


def needs(job: Job, workload: Workload) -> Footprint | None:
    """Return the footprint of another workload on the job's GPU, None when it cannot run."""
    return job_memory.needs(workload, job.gpu.value if job.gpu is not None else None)


def as_split(job: Job) -> Footprint | None:
    """Predict each GPU's memory if `kaitoc run` shards the model over all of them, None where it cannot."""
    there = replace(job.assumptions, target=Target.BUNDLED, sharing=replace(job.assumptions.sharing, word="fsdp2"))
    return job_memory.footprint_of(replace(job, assumptions=there)) if job.num_gpus > 1 else None
