"""Choose another instance type, where the user allows it: for one on which nothing fits, or that costs more."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.faults import known_errors
from kaitoc.compiler.job.job import Setting
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import serving_memory
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.instances import listed_instance_types
from kaitoc.compiler.passes.model import Change, Goal, Preserves
from kaitoc.compiler.passes.server_costs import priced_servers
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_search import search_for_server
from kaitoc.compiler.passes.speed_server import WORTHWHILE

NAME = "server-instance"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield the instance type to take instead of the stated one.

    By the goal of cost that is the one whose tokens cost least, where prices show one; else the smallest whose one node
    surely holds the server as it is written, where no change makes it start on the stated one.
    """
    place = job.instance_type.place if job.instance_type is not None else None
    if not context.allow_workspace_edits or job.instance_type is None or place is None or not job.uses_vllm:
        return
    found = _cheapest(job, context) if context.goal is Goal.COST else None
    if found is None and serving_memory(job).verdict is Verdict.DOES_NOT_FIT and not _can_start(job, context):
        larger = smallest_instance(job, context)
        found = (larger, f"no configuration fits on {job.instance_type.value}") if larger is not None else None
    if found is not None:
        instance, reason = found
        written = place.source.slice(place.span)
        quote = written[:1] if written[:1] in ("'", '"') else ""
        edits = (Edit(place.source, place.span, f"{quote}{instance.name}{quote}"),)
        before, after = job.instance_type.value, instance.name
        yield Change("resource.instanceType", reason, Preserves.EXACT, place, edits, before, after)


def _can_start(job: ServingJob, context: ServingContext) -> bool:
    search = search_for_server(job, context, Goal.FIT)
    return search is not None and search.smallest_that_fits(context.preserve) is not None


def _cheapest(job: ServingJob, context: ServingContext) -> tuple[InstanceType, str] | None:
    """Return the instance type whose tokens cost less than on the stated one by more than estimates tell apart."""
    present = job.instance.value if job.instance is not None else None
    if present is None or len(job.assumptions.prices.usd_per_hour) < 2 or context.siblings:
        return None
    types = [one for name, _ in job.assumptions.prices.usd_per_hour if (one := find_instance_type(name)) is not None]
    jobs = {one.name: job if one == present else on_instance(job, one) for one in types}
    servers = priced_servers(job, context, jobs)
    now = next((one for one in servers if one.instance == present), None)
    cheapest = min(servers, key=lambda one: one.usd_per_million_tokens, default=None)
    if now is None or cheapest is None:
        return None
    if cheapest.usd_per_million_tokens >= now.usd_per_million_tokens * (1 - WORTHWHILE):
        return None
    costs = f"USD {cheapest.usd_per_million_tokens:.3f} instead of {now.usd_per_million_tokens:.3f}"
    return cheapest.instance, f"a million output tokens cost an estimated {costs}"


def smallest_instance(job: ServingJob, context: ServingContext) -> InstanceType | None:
    """Return the smallest instance type of the same cloud whose one node is enough, and all that Kaito starts.

    It is not one on which a rule finds an error that it does not find now, such as a GPU without bfloat16.
    """
    present = job.instance.value if job.instance is not None else None
    if present is None:
        return None
    known = _errors(job, context)
    for candidate in listed_instance_types(job.assumptions.release, present.cloud):
        there = on_instance(job, candidate)
        if candidate != present and _holds(there) and _errors(there, context) <= known:
            return candidate
    return None


def on_instance(job: ServingJob, instance: InstanceType) -> ServingJob:
    """Return a server as it would be on another instance type."""
    place = job.instance_type.place if job.instance_type is not None else None
    return replace(job, instance=Setting(instance, place, "file"), instance_type=Setting(instance.name, place, "file"))


def _holds(job: ServingJob) -> bool:
    kaito = job.kaito_nodes
    return (kaito is None or kaito.num_nodes == 1) and serving_memory(job).verdict is Verdict.FITS


def _errors(job: ServingJob, context: ServingContext) -> set[tuple[str, str]]:
    """Return code and pointer of each error of a server."""
    return {(rule.CODE, fault.place.pointer) for rule, fault in known_errors(context.rules(), job)}
