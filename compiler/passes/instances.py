"""Which instance types a run could use, the smallest first."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types, find_instance_type
from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import PassContext
from kaitoc.compiler.passes.plan import Search, search_for_runs
from kaitoc.compiler.passes.search import Candidate
from kaitoc.compiler.passes.situation import situations_on

_DEFAULT_CLOUD = "azure"


def listed_instance_types(release: Release, cloud: str) -> list[InstanceType]:
    """Return the instance types of a cloud that a release lists and can tune on, the smallest first.

    Kaito publishes no prices and neither does the catalog; within a cloud the price grows with the number of GPUs,
    their memory and their speed, in this order.
    """
    usable = [instance for instance in all_instance_types() if instance.cloud == cloud and is_usable(instance, release)]
    return sorted(usable, key=_size)


def is_usable(instance: InstanceType | None, release: Release) -> bool:
    """Return whether a release lists an instance type and can tune on its GPUs."""
    return instance is not None and instance.gpu is not None and _is_listed(instance, release)


def smallest_fitting(job: Job, context: PassContext) -> tuple[InstanceType, Search, Candidate] | None:
    """Return the smallest instance type on which a configuration of the job fits, with that configuration."""
    stated = find_instance_type(job.instance_type.value) if job.instance_type is not None else None
    cloud = stated.cloud if stated is not None else _DEFAULT_CLOUD
    tried: dict[str, tuple[Search, Candidate] | None] = {}
    for instance in listed_instance_types(job.release, cloud):
        if instance.gpu is None:
            continue
        key = f"{instance.gpu.name} x {instance.num_gpus}"
        if key not in tried:
            tried[key] = next(_fitting(job, context, instance), None)
        fitting = tried[key]
        if fitting is not None:
            return instance, *fitting
    return None


def is_smaller(instance: InstanceType, other: InstanceType | None) -> bool:
    """Return whether an instance type is smaller than another; anything is smaller than none."""
    return other is None or _size(instance)[:-1] < _size(other)[:-1]


def _fitting(job: Job, context: PassContext, instance: InstanceType) -> Iterator[tuple[Search, Candidate]]:
    if instance.gpu is None:
        return
    runs = situations_on(job, instance.gpu, instance.num_gpus)
    if not runs:
        return
    search = search_for_runs(job, replace(context, siblings=()), runs)
    best = search.fitting()
    if best is not None:
        yield search, best


def _is_listed(instance: InstanceType, release: Release) -> bool:
    return instance.last_release is None or version_number(instance.last_release) >= release.number


def _size(instance: InstanceType) -> tuple[int, float, float, str]:
    gpu = instance.gpu
    if gpu is None:
        return (instance.num_gpus, instance.total_gib, 0.0, instance.name)
    return (instance.num_gpus, gpu.nominal_gib, gpu.bf16_flops, instance.name)
