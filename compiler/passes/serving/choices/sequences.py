"""How many requests a step takes at most: sampling for all has a peak of its own, and they share the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.passes.model import Goal
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

_LEAST, _MOST = 32, 1024


def _present(run: ServingRun) -> int:
    return run.footprint.limits.sequences if run.footprint is not None else 0


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[int]]:
    """Yield fewer, so that a server starts, or more, so that a full one answers more; one alone asks for neither."""
    size = _present(question.run)
    if question.is_about_starting:
        yield from halves(size, _LEAST)
    elif question.goal is not Goal.LATENCY and size:
        tokens = min(run.footprint.limits.tokens if run.footprint is not None else 0 for run in question.runs)
        yield from doubles(size, min(_MOST, tokens))  # vLLM wants room for a token of each


def _apply(runs: Runs, value: int) -> Runs:
    return tuple(run.varied(max_sequences=value) for run in runs)


def _values(run: ServingRun) -> Mapping[str, object]:
    return {"max-num-seqs": run.workload.max_sequences}


def _reason(before: ServingRun, after: ServingRun) -> str:
    was, now = _present(before), _present(after)
    if now > was:
        return f"{now:,} requests instead of {was:,} share each reading of the weights{cache_moves(before, after)}"
    return f"sampling for {now:,} requests instead of {was:,} at once{cache_moves(before, after)}"


CHOICE = ServingChoice("sequences", _present, _alternatives, _apply, _values, _reason, is_monotone=True)
