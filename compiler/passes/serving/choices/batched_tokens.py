"""How many tokens a step takes at most: the peak of the profiling run grows with them, and prompts take fewer steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.passes.serving.choices.model import (
    Runs,
    ServingChoice,
    ServingQuestion,
    cache_moves,
    doubles,
    halves,
)
from kaitoc.compiler.passes.serving.run import ServingRun
from kaitoc.compiler.passes.space import Alternative

_LEAST, _MOST = 512, 16_384


def _present(run: ServingRun) -> int:
    return run.footprint.limits.tokens if run.footprint is not None else 0


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[int]]:
    """Yield fewer, so that a server starts, or more, for speed: prompts are cut into other parts."""
    size = _present(question.run)
    if question.is_about_starting:
        yield from halves(size, max(_LEAST, *(run.workload.max_sequences or 0 for run in question.runs)))
    elif size:
        yield from doubles(size, _MOST)


def _apply(runs: Runs, value: int) -> Runs:
    return tuple(run.varied(max_batched_tokens=value) for run in runs)


def _values(run: ServingRun) -> Mapping[str, object]:
    return {"max-num-batched-tokens": run.workload.max_batched_tokens}


def _reason(before: ServingRun, after: ServingRun) -> str:
    was, now = _present(before), _present(after)
    if now > was:
        return f"prompts take fewer steps of {now:,} tokens, which still fit{cache_moves(before, after)}"
    return f"the profiling run takes {now:,} tokens instead of {was:,}{cache_moves(before, after)}"


CHOICE = ServingChoice("batched tokens", _present, _alternatives, _apply, _values, _reason, is_monotone=True)
