"""An instance type on which the run costs more than on a smaller one."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, all_instance_types, find_instance_type
from kaitoc.compiler.core.findings import Severity
from kaitoc.compiler.core.units import gib
from kaitoc.compiler.job.faults import Fault
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import footprint_on
from kaitoc.compiler.job.prices import usd_per_million_tokens
from kaitoc.compiler.job.speed import throughput_on
from kaitoc.compiler.memory.closed_form.footprint import verdict
from kaitoc.compiler.memory.result import Verdict

CODE = "KT605"
NAME = "oversized-instance-type"
SEVERITY = Severity.INFO
FIX = None
SINCE = "0.1.0"

SHARE = 0.5
SAVING = 0.05


def check(job: Job) -> Iterator[Fault]:
    """Yield a fault when hours times price are lower on an instance type with one GPU of half the memory."""
    stated = job.instance_type
    instance = find_instance_type(stated.value) if stated is not None else None
    if stated is None or stated.place is None or instance is None or not job.assumptions.prices.usd_per_hour:
        return
    cost = _cost_on(job, instance)
    smaller = [(_cost_on(job, other), other) for other in _smaller(job, instance)]
    cheapest_usd, cheapest = min(
        ((usd, other) for usd, other in smaller if usd is not None), key=lambda pair: pair[0], default=(None, instance)
    )
    if cost is None or cheapest_usd is None or cheapest_usd > cost * (1 - SAVING):
        return
    predicted = footprint_on(job, cheapest.gpu)
    needs = f" ({gib(predicted.device_bytes)} GiB of memory)" if predicted is not None else ""
    yield Fault(
        stated.place,
        f"a million tokens cost USD {cost:.3f} here and USD {cheapest_usd:.3f} on `{cheapest.name}`, "
        f"where the run fits too{needs}",
        help="`kaitoc compile --goal cost --allow-workspace-edits` compares instance types, each at its fastest",
    )


def _cost_on(job: Job, instance: InstanceType) -> float | None:
    """Return the cost of a million tokens of the run on an instance type in USD, None where it is unknown."""
    price = job.assumptions.prices.of(instance)
    speed = throughput_on(job, instance.gpu, instance.num_gpus, instance) if price is not None else None
    if price is None or speed is None:
        return None
    return usd_per_million_tokens(price, 1.0 / speed.tokens_per_second)


def _smaller(job: Job, instance: InstanceType) -> Iterator[InstanceType]:
    """Yield the listed instance types of the same cloud with one GPU, at most half as large, on which the run fits."""
    for other in all_instance_types():
        gpu = other.gpu
        if gpu is None or instance.gpu is None or other.cloud != instance.cloud or other.last_release is not None:
            continue
        if other.num_gpus > 1 or gpu.nominal_gib > instance.gpu.nominal_gib * SHARE:
            continue
        predicted = footprint_on(job, gpu) if job.assumptions.prices.of(other) is not None else None
        if predicted is not None and verdict(predicted, gpu, job.assumptions.margin) is Verdict.FITS:
            yield other
