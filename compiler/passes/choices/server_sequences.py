"""How many requests a step takes at most: sampling for all has a peak of its own, and they share the weights."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.passes.choices.server_batch_limit import batch_limit_choice
from kaitoc.compiler.passes.choices.server_choice import ServingQuestion, doubles, halves
from kaitoc.compiler.passes.model import Goal
from kaitoc.compiler.passes.space import Alternative

_LEAST, _MOST = 32, 1024


def _alternatives(question: ServingQuestion, size: int) -> Iterator[Alternative[int]]:
    """Yield fewer, so that a server starts, or more, so that a full one answers more; one alone asks for neither."""
    if question.is_about_starting:
        yield from halves(size, _LEAST)
    elif question.goal is not Goal.LATENCY and size:
        tokens = min(run.footprint.limits.tokens if run.footprint is not None else 0 for run in question.runs)
        yield from doubles(size, min(_MOST, tokens))  # vLLM wants room for a token of each


CHOICE = batch_limit_choice(
    "sequences",
    "max-num-seqs",
    "max_sequences",
    lambda limits: limits.sequences,
    _alternatives,
    more="each pass over the weights serves {now} requests instead of {was}",
    fewer="sampling for {now} requests instead of {was} at once",
)
