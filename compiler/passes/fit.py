"""Bring a run that does not fit its GPU below its memory, with the goal's best configuration that fits."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, PassContext
from kaitoc.compiler.passes.plan import changes_of, search_for

NAME = "fit"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the changes with which a run fits; nothing when it does already, or when nothing helps."""
    search = search_for(job, context)
    if search is None or search.fits:
        return
    best = search.best()
    if best is not None:
        yield from changes_of(search, best, lambda choice: choice.fit_reason)
