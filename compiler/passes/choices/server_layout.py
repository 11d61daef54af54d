"""Whether the GPUs of a node share one copy of the model or hold one each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaitoc.compiler.memory.serving.workload import ServingError, require_layout
from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion, cache_moves
from kaitoc.compiler.passes.server_options import OFFLOAD
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative


def _present(run: ServingRun) -> tuple[int, int]:
    return run.workload.tensor_parallel, run.workload.data_parallel


def _alternatives(question: ServingQuestion) -> Iterator[Alternative[tuple[int, int]]]:
    """Yield other divisions of all GPUs of the one node among ranks and copies."""
    run = question.run
    if len(question.runs) > 1 or run.num_gpus < 2 or run.num_nodes > 1 or run.workload.pipeline_parallel > 1:
        return
    for ranks in (size for size in range(1, run.num_gpus + 1) if run.num_gpus % size == 0):
        layout = (ranks, run.num_gpus // ranks)
        if layout != _present(run) and _is_possible(run, ranks):
            yield Alternative(layout)


def _is_possible(run: ServingRun, ranks: int) -> bool:
    try:
        require_layout(run.varied(tensor_parallel=ranks).workload)
    except ServingError:
        return False
    return True


def _apply(runs: Runs, value: tuple[int, int]) -> Runs:
    """Return the servers in another layout; Kaito's launcher offloads no KV cache where there are copies."""
    ranks, copies = value
    laid_out = (run.varied(tensor_parallel=ranks, data_parallel=copies) for run in runs)
    return tuple(run.varied(offloaded_share=0.0, hybrid_manager=True) if copies > 1 else run for run in laid_out)


def _values(run: ServingRun) -> Mapping[str, object]:
    sizes = {
        "tensor-parallel-size": run.workload.tensor_parallel,
        "data-parallel-size": run.workload.data_parallel,
    }
    return {**sizes, OFFLOAD: 0} if run.workload.data_parallel > 1 else sizes


def _reason(before: ServingRun, after: ServingRun) -> str:
    ranks, copies = _present(after)
    what = f"{ranks} GPUs share a copy of the model" if ranks > 1 else "each GPU has a copy of the model"
    number = f", of which there are {copies}" if copies > 1 and ranks > 1 else ""
    return f"{what}{number}{cache_moves(before, after)}"


CHOICE = ServingChoice("layout", _present, _alternatives, _apply, _values, _reason)
