"""Bring a run that does not fit its GPU below its memory, with the goal's best configuration that fits."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.job import Job
from kaitoc.compiler.passes.model import Change, PassContext
from kaitoc.compiler.passes.plan import changes_of, search_for
from kaitoc.compiler.passes.search import Dimension

NAME = "fit"

_REASONS = {
    Dimension.CHECKPOINTING: "activations are computed again in the backward pass instead of kept",
    Dimension.ATTENTION: "fused attention never holds the scores of all pairs of tokens",
    Dimension.LOSS: "the loss is computed in chunks of tokens, so the logits of the whole batch never exist at once",
    Dimension.BATCH: "fewer sequences at a time, with the gradients of more steps summed: the same effective batch",
    Dimension.OPTIMIZER: "optimizer states of 8 bits in memory that can move to the host",
    Dimension.DOUBLE_QUANT: "the constants of the 4-bit blocks are quantised too",
    Dimension.QUANTIZATION: "frozen weights in 4-bit NormalFloat take a quarter of the memory",
    Dimension.LENGTH: "shorter sequences: what is cut off is not learned",
}


def run(job: Job, context: PassContext) -> Iterator[Change]:
    """Yield the changes with which a run fits; nothing when it does already, or when nothing helps."""
    found = search_for(job, context)
    if found is None or found.fits:
        return
    best = found.best()
    if best is not None:
        yield from changes_of(found, best, _REASONS)
