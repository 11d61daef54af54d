"""What binds a run that no change makes fit, and on which smaller instance a compiled run would fit too."""

from __future__ import annotations

from kaitoc.compiler.catalog.gpus import InstanceType, find_instance_type
from kaitoc.compiler.compile.model import InstanceProposal, NothingCheaper
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.job.memory import verdict_of
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.instances import (
    PricedRun,
    cheapest_run,
    comparable,
    is_smaller,
    priced_run,
    smallest_fitting,
)
from kaitoc.compiler.passes.model import Binding, PassContext, Preserve
from kaitoc.compiler.passes.plan import Search, search_for
from kaitoc.compiler.passes.search import Candidate
from kaitoc.compiler.passes.search_space import apply

_STATISTICAL = (Preserve.STATISTICAL, "statistically the same result")
_ANY = (Preserve.ANY, "another result")
_BOLDER = {Preserve.EXACT: (_STATISTICAL, _ANY), Preserve.STATISTICAL: (_ANY,), Preserve.ANY: ()}


def binding_of(job: Job, context: PassContext) -> Binding:
    """Explain why a job does not fit and by how much, empty for one that fits or cannot be predicted."""
    if verdict_of(job) is not Verdict.DOES_NOT_FIT:
        return Binding()
    search = search_for(job, context)
    if search is None:
        return Binding()
    smallest = search.smallest()
    run = search.runs[0]
    predicted = footprint(apply(smallest, run), run.gpu)
    peak = predicted.device_bytes
    part, size = max(predicted.peak.categories.items(), key=lambda item: item[1])
    room = run.gpu.memory_bytes * (1 - run.margin)
    needs = f"{job.manifest.ref.name} needs at least {format_gib(peak)} ({part.value}: {format_gib(size)})"
    offers = f"one {run.gpu.name} has {format_gib(room)} after the margin"
    missing = f"{format_gib(max(0.0, peak - room))} too much"
    return Binding(job.manifest.source.path, f"{needs}; {offers}: {missing}", _way_out(job, context))


def proposal_of(job: Job, context: PassContext) -> InstanceProposal | NothingCheaper | None:
    """Propose another instance type: the cheapest by the stated prices, else the smallest that fits as it is.

    Where prices of others were compared and none is lower, that is the answer.
    """
    if job.instance_type is None or verdict_of(job) is not Verdict.FITS:
        return None
    present = find_instance_type(job.instance_type.value)
    if present is None:
        return None
    alone = replace(context, siblings=())
    now = priced_run(job, alone, present)
    return _smaller(job, alone, present) if now is None else _cheaper(job, alone, now)


def _cheaper(job: Job, context: PassContext, now: PricedRun) -> InstanceProposal | NothingCheaper | None:
    cheapest = cheapest_run(job, context)
    if cheapest is None or not cheapest.is_cheaper_than(now):
        others = [instance for instance in comparable(job) if instance != now.instance]
        return NothingCheaper(len(others), now.usd_per_million_tokens) if others else None
    return _proposal(cheapest.instance, cheapest.search, cheapest.candidate, cheapest.usd_per_million_tokens)


def _smaller(job: Job, context: PassContext, present: InstanceType) -> InstanceProposal | None:
    fitting = smallest_fitting(job, replace(context, preserve=Preserve.EXACT))
    if fitting is None or not is_smaller(fitting[0], present):
        return None
    return _proposal(*fitting)


def _proposal(
    instance: InstanceType, search: Search, candidate: Candidate, usd_per_million_tokens: float | None = None
) -> InstanceProposal:
    run = search.runs[0]
    return InstanceProposal(
        name=instance.name,
        gpu=run.gpu.name,
        num_gpus=run.num_gpus,
        peak_bytes=footprint(apply(candidate, run), run.gpu).device_bytes,
        capacity_bytes=run.gpu.memory_bytes,
        num_changes=len(candidate.changed),
        usd_per_million_tokens=usd_per_million_tokens,
    )


def _way_out(job: Job, context: PassContext) -> str:
    """Suggest what the user could allow, or say that no known GPU is large enough."""
    for preserve, result in _BOLDER[context.preserve]:
        bolder = search_for(job, replace(context, preserve=preserve))
        if bolder is not None and bolder.best() is not None:
            return f"; --preserve {preserve.value} finds a configuration that fits, with {result}"
    larger = smallest_fitting(job, context)
    if larger is None:
        return "; it fits on no known GPU"
    return f"; it fits on {larger[0].name} (--allow-workspace-edits)"
