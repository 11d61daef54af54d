"""A shorter context, where the stated one is more than the KV cache holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.memory.serving.solve import longest_that_fits
from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion
from kaitoc.compiler.passes.model import Preserves
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative

LONGEST = 0
"""Stands for the longest context that fits once all other choices are made."""
_STEP_TOKENS = 256


def _present(run: ServingRun) -> int:
    return run.workload.max_length_tokens or 0


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[int]]:
    if all(run.workload.max_length_tokens is not None for run in question.runs):
        yield Alternative(LONGEST, Preserves.CHANGES)


def _apply(runs: Runs, _: int) -> Runs:
    longest = min(longest_that_fits(run.workload, run.gpu, run.margin) for run in runs)
    length = longest // _STEP_TOKENS * _STEP_TOKENS or longest
    stated = min(_present(run) for run in runs)
    return tuple(run.varied(max_length_tokens=min(length, stated)) for run in runs) if length else runs


def _values(run: ServingRun) -> Mapping[str, object]:
    return {"max-model-len": run.workload.max_length_tokens}


def _reason(before: ServingRun, after: ServingRun) -> str:
    was, now = before.workload.max_length_tokens, after.workload.max_length_tokens
    return f"the KV cache cannot hold a request of {was:,} tokens, but certainly one of {now:,}"


CHOICE = ServingChoice("context", _present, _alternatives, _apply, _values, _reason)
