"""Whether LMCache keeps KV blocks in host memory, for which vLLM turns off the manager that frees sliding windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion
from kaitoc.compiler.passes.server_options import OFFLOAD
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative


def _present(run: ServingRun) -> bool:
    return bool(run.workload.offloaded_share)


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[bool]]:
    if all(
        _present(run) and run.workload.model.has_windows and not run.workload.hybrid_manager for run in question.runs
    ):
        yield Alternative(False)


def _apply(runs: Runs, _: bool) -> Runs:  # the value of the choice
    return tuple(run.varied(offloaded_share=0.0, hybrid_manager=True) for run in runs)


def _values(_: ServingRun) -> Mapping[str, object]:
    return {OFFLOAD: 0}


def _reason(before: ServingRun, after: ServingRun) -> str:
    lengths = [run.footprint.longest_tokens if run.footprint else 0 for run in (before, after)]
    return (
        f"LMCache turns off vLLM's hybrid KV manager, so that {before.workload.model.name} keeps its sliding windows "
        f"whole; without it {lengths[1]:,} tokens of context fit instead of {lengths[0]:,}"
    )


CHOICE = ServingChoice("offloading", _present, _alternatives, _apply, _values, _reason)
