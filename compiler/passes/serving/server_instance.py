"""Choose another instance type, where the user allows it, for a server that no change makes fit on the stated one."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.catalog.gpus import InstanceType
from kaitoc.compiler.core.findings import Edit
from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Setting
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.job.serving_memory import kaito_nodes, serving_memory
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.instances import listed_instance_types
from kaitoc.compiler.passes.model import Change, Goal, Preserves
from kaitoc.compiler.passes.serving.model import ServingContext
from kaitoc.compiler.passes.serving.search import search_for_server

NAME = "server-instance"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield the smallest instance type on which one node surely holds the server as it is written."""
    place = job.instance_type.place if job.instance_type is not None else None
    if not context.allow_workspace_edits or job.instance_type is None or place is None or not job.uses_vllm:
        return
    if serving_memory(job).verdict is not Verdict.DOES_NOT_FIT:
        return
    search = search_for_server(job, context, Goal.FIT)
    if search is not None and search.smallest_that_fits(context.preserve) is not None:
        return
    larger = smallest_instance(job)
    if larger is not None:
        written = place.source.slice(place.span)
        quote = written[:1] if written[:1] in ("'", '"') else ""
        edit = Edit(place.source, place.span, f"{quote}{larger.name}{quote}")
        reason = f"no configuration fits on {job.instance_type.value}"
        yield Change(
            "resource.instanceType", reason, Preserves.EXACT, place, (edit,), job.instance_type.value, larger.name
        )


def smallest_instance(job: ServingJob) -> InstanceType | None:
    """Return the smallest instance type of the same cloud whose one node is enough, and all that Kaito starts."""
    present = job.instance.value if job.instance is not None else None
    if present is None:
        return None
    candidates = listed_instance_types(job.assumptions.release, present.cloud)
    return next((one for one in candidates if one != present and _holds(on_instance(job, one))), None)


def on_instance(job: ServingJob, instance: InstanceType) -> ServingJob:
    """Return a server as it would be on another instance type."""
    place = job.instance_type.place if job.instance_type is not None else None
    return replace(job, instance=Setting(instance, place, "file"), instance_type=Setting(instance.name, place, "file"))


def _holds(job: ServingJob) -> bool:
    kaito = kaito_nodes(job)
    return (kaito is None or kaito.num_nodes == 1) and serving_memory(job).verdict is Verdict.FITS
