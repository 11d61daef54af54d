"""GPUs that cannot share the model as it is stated."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, workload_of
from kaitoc.compiler.job.possible import missing_gpus, why_not_shared
from kaitoc.compiler.manifest.objects import Place
from kaitoc.compiler.memory.sharing import AS_THE_STACK_DOES
from kaitoc.rules._memory import gpu_place

CODE = "KT516"
NAME = "impossible-sharing"
SEVERITY = Severity.ERROR
FIX = None
SINCE = "0.1.0"


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault for GPUs that nodes do not have, or that cannot split or copy what one GPU could train."""
    workload = workload_of(job)
    if workload is None:
        obstacle = missing_gpus(job)
    else:
        obstacle = why_not_shared(job, workload) if footprint_of(job) is None else ""
    if obstacle:
        yield Fault(_place(job), obstacle)


def _place(job: Job) -> Place:
    written = job.option("TrainingArguments", "fsdp") if job.assumptions.sharing == AS_THE_STACK_DOES else None
    return job.place_of(written) if written is not None else gpu_place(job)
