"""Divide a model among the GPUs of a node in a way that vLLM takes, where what is written or Kaito's own way is not."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.serving.engine_problem import EngineProblemKind
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.serving.model import ServingContext
from kaitoc.compiler.passes.serving.writing import set_values

NAME = "repair-layout"

_RANKS, _COPIES, _STAGES = "tensor-parallel-size", "data-parallel-size", "pipeline-parallel-size"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield sizes that the node's GPUs and the model's heads allow, as near to what is written as they can be."""
    num_gpus = job.num_gpus
    if not job.uses_vllm or num_gpus is None or not job.parsed.is_accepted:
        return
    ranks, copies, stages = (_size(job, name) for name in (_RANKS, _COPIES, _STAGES))
    is_excess = any(problem.kind is EngineProblemKind.LAYOUT for problem in job.engine_problems)
    if not is_excess and _can_share(job, ranks):
        return
    fitting = max(size for size in range(1, min(ranks, num_gpus) + 1) if num_gpus % size == 0 and _can_share(job, size))
    wanted = {_RANKS: fitting, _COPIES: 1, _STAGES: 1}
    present = {_RANKS: ranks, _COPIES: copies, _STAGES: stages}
    values = {name: size for name, size in wanted.items() if size != present[name]}
    if values:
        change = set_values(job, context, values, _reason(job, ranks, copies, stages, fitting), Preserves.INTENT)
        if change is not None:
            yield change


def _reason(job: ServingJob, ranks: int, copies: int, stages: int, fitting: int) -> str:
    asked, num_gpus = ranks * copies * stages, job.num_gpus or 1
    model = job.model.value.name if job.model is not None else "the model"
    if asked > num_gpus:
        why = f"{asked} GPUs are asked for and the node has {num_gpus}"
    else:
        why = f"{ranks} GPUs cannot share the heads of {model}"
    idle = num_gpus - fitting
    rest = f", and {idle} of {num_gpus} GPUs stay idle" if idle else ""
    return (
        f"{why}: the server fails to start; {fitting} can{rest}" if fitting > 1 else f"{why}: the server fails to start"
    )


def _size(job: ServingJob, name: str) -> int:
    served = job.parsed.values.get(name)
    return served.value if served is not None and isinstance(served.value, int) and served.value > 0 else 1


def _can_share(job: ServingJob, ranks: int) -> bool:
    """Return whether ranks can divide a model's heads, which an unknown model is taken to allow."""
    if job.model is None:
        return True
    heads, shared = job.model.value.num_heads, job.model.value.num_kv_heads
    return heads % ranks == 0 and (shared % ranks == 0 or ranks % shared == 0)
