"""Make a run that fits faster, or smaller where memory is the goal."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, Goal, PassContext
from kaitoc.compiler.passes.plan import changes_of, search_for
from kaitoc.compiler.passes.search import Dimension

NAME = "speed"

_FASTER = {
    Dimension.CHECKPOINTING: "there is room to keep what checkpointing would compute twice",
    Dimension.ATTENTION: "the fused kernel computes the same attention in one pass over memory",
    Dimension.LOSS: "the other way of computing the same loss is predicted to be faster here",
    Dimension.BATCH: "the effective batch in other parts, which use the GPU better and still fit",
    Dimension.OPTIMIZER: "there is room for the optimizer states that are faster to update",
    Dimension.DOUBLE_QUANT: "there is room for constants that need not be dequantised first",
    Dimension.QUANTIZATION: "4-bit weights leave room for what makes the run faster",
    Dimension.LENGTH: "shorter sequences are faster: what is cut off is not learned",
}
_SMALLER = dict.fromkeys(Dimension, "the lowest predicted peak is the goal")


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the changes towards the goal's best configuration, once the run fits."""
    found = search_for(job, context)
    if found is None or not found.fits:
        return
    best = found.best()
    if best is not None:
        yield from changes_of(found, best, _SMALLER if context.goal is Goal.MEMORY else _FASTER)
