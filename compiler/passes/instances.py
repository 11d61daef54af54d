"""Which instance types a run could use, the smallest first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types, find_instance_type
from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.catalog.releases import Release
from kaitoc.compiler.core.areas import Area, area_of
from kaitoc.compiler.core.findings import Applicability
from kaitoc.compiler.core.records import dataclass, replace
from kaitoc.compiler.job.faults import known_errors
from kaitoc.compiler.job.job import Job, Setting
from kaitoc.compiler.job.prices import usd_per_million_tokens
from kaitoc.compiler.passes.model import Goal, PassContext
from kaitoc.compiler.passes.plan import Search, search_for_runs
from kaitoc.compiler.passes.search import Candidate
from kaitoc.compiler.passes.situation import situations_on
from kaitoc.compiler.passes.space import TIE

_DEFAULT_CLOUD = "azure"


@dataclass(frozen=True, slots=True)
class PricedRun:
    """The fastest configuration that fits on an instance type, and what a million of its tokens cost."""

    instance: InstanceType
    search: Search
    candidate: Candidate
    usd_per_million_tokens: float

    def is_cheaper_than(self, other: PricedRun | None) -> bool:
        """Return whether this run costs less by more than predictions differ; nothing is cheaper than the unknown."""
        return other is not None and self.usd_per_million_tokens < other.usd_per_million_tokens * (1 - TIE)


def cloud_of(job: Job) -> str:
    """Return the cloud of a job's instance type, Azure where none is known."""
    stated = find_instance_type(job.instance_type.value) if job.instance_type is not None else None
    return stated.cloud if stated is not None else _DEFAULT_CLOUD


def listed_instance_types(release: Release, cloud: str) -> list[InstanceType]:
    """Return the instance types of a cloud that a release lists and can tune on, the smallest first.

    Sizes are compared by the number of GPUs, their memory and their speed, in this order.
    """
    usable = [instance for instance in all_instance_types() if instance.cloud == cloud and is_usable(instance, release)]
    return sorted(usable, key=_size)


def is_usable(instance: InstanceType | None, release: Release) -> bool:
    """Return whether a release lists an instance type and can tune on its GPUs."""
    return instance is not None and instance.gpu is not None and _is_listed(instance, release)


def smallest_fitting(job: Job, context: PassContext) -> tuple[InstanceType, Search, Candidate] | None:
    """Return the smallest instance type on which a configuration of the job fits, with that configuration."""
    tried: dict[str, tuple[Search, Candidate] | None] = {}
    for instance in listed_instance_types(job.release, cloud_of(job)):
        if instance.gpu is None:
            continue
        key = f"{instance.gpu.name} x {instance.num_gpus}"
        if key not in tried:
            tried[key] = next(_fitting(job, context, instance), None)
        fitting = tried[key]
        if fitting is not None:
            return instance, *fitting
    return None


def cheapest_run(job: Job, context: PassContext) -> PricedRun | None:
    """Return the job on the instance type where its tokens cost least, of those with a price; None without any."""
    runs = [run for instance in comparable(job) if (run := priced_run(job, context, instance)) is not None]
    return min(runs, key=lambda run: run.usd_per_million_tokens, default=None)


def priced_run(job: Job, context: PassContext, instance: InstanceType | None) -> PricedRun | None:
    """Return the job at its fastest on an instance type, None where nothing fits or no price is stated."""
    price = job.assumptions.prices.of(instance)
    if instance is None or price is None:
        return None
    fitting = next(_fitting(job, replace(context, goal=Goal.THROUGHPUT), instance), None)
    if fitting is None:
        return None
    search, candidate = fitting
    return PricedRun(instance, search, candidate, usd_per_million_tokens(price, search.judge.time(candidate)))


def comparable(job: Job) -> list[InstanceType]:
    """Return the usable instance types of the job's cloud that have a price, the smallest first."""
    prices = job.assumptions.prices
    if not prices.usd_per_hour:
        return []
    return [one for one in listed_instance_types(job.release, cloud_of(job)) if prices.of(one) is not None]


def is_smaller(instance: InstanceType, other: InstanceType | None) -> bool:
    """Return whether an instance type is smaller than another; anything is smaller than none."""
    return other is None or _size(instance)[:-1] < _size(other)[:-1]


def _fitting(job: Job, context: PassContext, instance: InstanceType) -> Iterator[tuple[Search, Candidate]]:
    if instance.gpu is None:
        return
    runs = situations_on(job, instance.gpu, instance)
    if not runs:
        return
    search = search_for_runs(job, replace(context, siblings=()), runs)
    best = search.fitting()
    if best is not None and not _brings_error(job, context, instance):
        yield search, best


def _brings_error(job: Job, context: PassContext, instance: InstanceType) -> bool:
    """Return whether a rule finds an error that no fix resolves on an instance type, and does not find it now.

    Some options are read on one GPU only. What memory allows is for the search to say.
    """
    stated = job.instance_type
    if stated is None or instance.gpu is None:
        return False
    there = replace(
        job,
        instance_type=replace(stated, value=instance.name),
        gpu=Setting(instance.gpu, stated.place, stated.origin),
        num_gpus=instance.num_gpus,
    )
    return bool(_lasting_errors(there, context) - _lasting_errors(job, context))


def _lasting_errors(job: Job, context: PassContext) -> set[tuple[str, str]]:
    """Return code and pointer of each error that is not about memory and that no fix resolves."""
    rules = (rule for rule in context.job_rules if area_of(rule.CODE) is not Area.MEMORY)
    return {
        (rule.CODE, fault.place.pointer)
        for rule, fault in known_errors(rules, job)
        if fault.fix is None or fault.fix.applicability is Applicability.DISPLAY
    }


def _is_listed(instance: InstanceType, release: Release) -> bool:
    return instance.last_release is None or version_number(instance.last_release) >= release.number


def _size(instance: InstanceType) -> tuple[int, float, float, str, tuple[int, ...]]:
    gpu = instance.gpu
    if gpu is None:
        return (instance.num_gpus, instance.total_gib, 0.0, *_by_number(instance.name))
    return (instance.num_gpus, gpu.nominal_gib, gpu.bf16_flops, *_by_number(instance.name))


def _by_number(name: str) -> tuple[str, tuple[int, ...]]:
    """Return a name as a key by which `g6.xlarge` comes before `g6.2xlarge`, and that before `g6.16xlarge`."""
    numbered = re.sub(r"(?<!\d)xlarge", "1xlarge", name)
    return re.sub(r"\d+", "0", numbered), tuple(map(int, re.findall(r"\d+", numbered)))
