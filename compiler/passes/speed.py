"""Make a run that fits faster, or smaller where memory is the goal."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, Goal, PassContext
from kaitoc.compiler.passes.plan import changes_of, search_for

NAME = "speed"

_SMALLER = "the lowest predicted peak is the goal"


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the changes towards the goal's best configuration, once the run fits."""
    search = search_for(job, context)
    if search is None or not search.fits:
        return
    best = search.best()
    if best is not None:
        is_smaller = context.goal is Goal.MEMORY
        yield from changes_of(search, best, lambda choice: _SMALLER if is_smaller else choice.speed_reason)
