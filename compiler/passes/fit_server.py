"""Make a server start that its GPU has no room for, with the smallest change that is sure to."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.model import Change, Goal
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_search import search_for_server

NAME = "fit-server"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield the change with which a server starts; nothing where it may start already, or nothing helps."""
    search = search_for_server(job, context, Goal.FIT)
    if search is None or all(run.verdict is not Verdict.DOES_NOT_FIT for run in search.runs):
        return
    smallest = search.smallest_that_fits(context.preserve)
    change = search.change(smallest) if smallest is not None else None
    if change is not None:
        yield change
