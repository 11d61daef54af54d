"""An instance type that is larger than the run needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types, find_instance_type
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_of, footprint_on
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Verdict

CODE = "KT605"
NAME = "oversized-instance-type"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"

SHARE = 0.5


def check(job: Job) -> Iterator[Fault]:
    stated, predicted = job.instance_type, footprint_of(job)
    instance = find_instance_type(stated.value) if stated is not None else None
    if stated is None or stated.place is None or instance is None or instance.gpu is None or predicted is None:
        return
    smaller = _smallest(job, instance)
    if smaller is None or smaller.gpu is None:
        return
    yield Fault(
        stated.place,
        f"needs {gib(predicted.device_bytes)} of {gib(instance.gpu.memory_bytes)} GiB; `{smaller.name}` with one "
        f"{smaller.gpu.name} would hold it",
        help="a smaller GPU is cheaper by the hour and slower by the step; `kaitoc compile` compares both",
    )


def _smallest(job: Job, instance: InstanceType) -> InstanceType | None:
    """Return the listed instance type of the same cloud with the smallest single GPU that is at most half as large."""
    if instance.gpu is None:
        return None
    limit = instance.gpu.nominal_gib * SHARE
    for other in _listed(instance.cloud):
        if other.gpu is None or other.gpu.nominal_gib > limit:
            continue
        predicted = footprint_on(job, other.gpu)
        if predicted is not None and verdict(predicted, other.gpu, job.assumptions.margin) is Verdict.FITS:
            return other
    return None


@lru_cache
def _listed(cloud: str) -> tuple[InstanceType, ...]:
    """Return the instance types of a cloud with one NVIDIA GPU that the newest release lists, the smallest first."""
    instances = [
        instance
        for instance in all_instance_types()
        if instance.cloud == cloud
        and instance.gpu is not None
        and instance.num_gpus == 1
        and instance.last_release is None
    ]
    return tuple(
        sorted(instances, key=lambda instance: (instance.gpu.nominal_gib if instance.gpu else 0, instance.name))
    )
