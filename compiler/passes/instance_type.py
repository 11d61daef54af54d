"""Choose another instance type, where the user allows it: for one that cannot be used, is too small, or costs more."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.job.job import Job, Setting
from kaitoc.compiler.passes.instances import is_smaller, is_usable, smallest_fitting
from kaitoc.compiler.passes.model import Change, Goal, PassContext, Preserves
from kaitoc.compiler.passes.plan import search_for

NAME = "instance-type"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the smallest instance type that fits, when the stated one does not do or cost is the goal."""
    stated = job.instance_type
    if not context.allow_workspace_edits or stated is None or stated.place is None or not job.is_parsable:
        return
    present = find_instance_type(stated.value)
    usable = is_usable(present, job.release)
    if usable and context.goal is not Goal.COST and _can_fit(job, context):
        return
    fitting = smallest_fitting(job, context)
    if fitting is None:
        return
    instance, _, _ = fitting
    if not usable or present is None or not _can_fit(job, context) or is_smaller(instance, present):
        yield _change(stated, instance, _reason(stated, job, usable=usable, goal=context.goal))


def _can_fit(job: Job, context: PassContext) -> bool:
    search = search_for(job, context)
    return search is None or search.fitting() is not None


def _reason(stated: Setting[str], job: Job, *, usable: bool, goal: Goal) -> str:
    if not usable:
        return f"Kaito {job.release.name} cannot tune on {stated.value}"
    if goal is Goal.COST:
        return "the smallest instance type on which the run fits"
    return f"no configuration fits on {stated.value}"


def _change(stated: Setting[str], instance: InstanceType, reason: str) -> Change:
    place = stated.place
    if place is None:
        raise ValueError("an instance type that no file states cannot be changed")
    written = place.source.slice(place.span)
    quote = written[:1] if written[:1] in ("'", '"') else ""
    edit = Edit(place.source, place.span, f"{quote}{instance.name}{quote}")
    return Change("resource.instanceType", reason, Preserves.EXACT, place, (edit,), stated.value, instance.name)
