"""How many tokens a step takes at most: the peak of the profiling run grows with them, and prompts take fewer steps."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.passes.choices.server_batch_limit import batch_limit_choice
from kaitoc.compiler.passes.choices.server_choice import ServingQuestion, doubles, halves
from kaitoc.compiler.passes.space import Alternative

_LEAST, _MOST = 512, 16_384


def _alternatives(question: ServingQuestion, size: int) -> Iterator[Alternative[int]]:
    """Yield fewer, so that a server starts, or more, for speed: prompts are cut into other parts."""
    if question.is_about_starting:
        yield from halves(size, max(_LEAST, *(run.workload.max_sequences or 0 for run in question.runs)))
    elif size:
        yield from doubles(size, _MOST)


CHOICE = batch_limit_choice(
    "batched tokens",
    "max-num-batched-tokens",
    "max_batched_tokens",
    lambda limits: limits.tokens,
    _alternatives,
    more="prompts take fewer steps of {now} tokens, which still fit",
    fewer="the profiling run takes {now} tokens instead of {was}",
)
