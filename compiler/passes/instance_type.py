"""Choose another instance type, where the user allows it: for one that cannot be used, is too small, or costs more."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.job.job import Job, Setting
from kaitoc.compiler.passes.instances import (
    PricedRun,
    cheapest_run,
    comparable,
    is_usable,
    priced_run,
    smallest_fitting,
)
from kaitoc.compiler.passes.model import Change, Goal, PassContext, Preserves
from kaitoc.compiler.passes.plan import search_for

NAME = "instance-type"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the instance type to take instead of the stated one.

    By the goal of cost that is the one whose tokens cost least, where prices show one; else the smallest that fits,
    when the stated one cannot be used or nothing fits on it.
    """
    stated = job.instance_type
    if not context.allow_workspace_edits or stated is None or stated.place is None or not job.is_parsable:
        return
    present = find_instance_type(stated.value)
    usable = is_usable(present, job.release)
    works = usable and _can_fit(job, context)
    cheapest = cheapest_run(job, context) if context.goal is Goal.COST else None
    now = priced_run(job, context, present) if usable else None
    if cheapest is not None and (not works or cheapest.is_cheaper_than(now)):
        yield _change(stated, cheapest.instance, _reason_of_cost(cheapest, now))
    elif not works and (fitting := smallest_fitting(job, context)) is not None:
        yield _change(stated, fitting[0], _why_not(stated, job, usable=usable))


def missing_prices(job: Job, context: PassContext) -> str:
    """Name the prices that the cost goal lacks for a job; empty when none."""
    stated, prices = job.instance_type, job.assumptions.prices
    present = find_instance_type(stated.value) if stated is not None else None
    if present is None:
        return ""
    if prices.of(present) is None:
        return f"--goal cost: the price of {present.name} is missing; give --price {present.name}=USD"
    if context.allow_workspace_edits and all(instance == present for instance in comparable(job)):
        return "--goal cost: no other instance type has a price to compare with; give --price TYPE=USD for each"
    return ""


def _can_fit(job: Job, context: PassContext) -> bool:
    search = search_for(job, context)
    return search is None or search.fitting() is not None


def _reason_of_cost(cheapest: PricedRun, present: PricedRun | None) -> str:
    cost = f"a million tokens cost USD {cheapest.usd_per_million_tokens:.3f}"
    return f"{cost} instead of {present.usd_per_million_tokens:.3f}" if present is not None else cost


def _why_not(stated: Setting[str], job: Job, *, usable: bool) -> str:
    if not usable:
        return f"Kaito {job.release.name} cannot tune on {stated.value}"
    return f"no configuration fits on {stated.value}"


def _change(stated: Setting[str], instance: InstanceType, reason: str) -> Change:
    place = stated.place
    if place is None:
        raise ValueError("cannot change an instance type that no file sets")
    written = place.source.slice(place.span)
    quote = written[:1] if written[:1] in ("'", '"') else ""
    edit = Edit(place.source, place.span, f"{quote}{instance.name}{quote}")
    return Change("resource.instanceType", reason, Preserves.EXACT, place, (edit,), stated.value, instance.name)
