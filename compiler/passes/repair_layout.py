"""Divide a model among the GPUs of its nodes in a way that vLLM takes, where what is written is not one."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.kaito.vllm_engine_problem import EngineProblemKind
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_options import set_values

NAME = "repair-layout"

_RANKS, _COPIES, _STAGES = "tensor-parallel-size", "data-parallel-size", "pipeline-parallel-size"


def run(job: ServingJob, context: ServingContext) -> Iterator[Change]:
    """Yield sizes that the GPUs and the model's heads allow, as near to what is written as they can be.

    Of several nodes each stays a stage of the pipeline.
    """
    num_gpus = job.num_gpus
    if not job.uses_vllm or num_gpus is None or not job.parsed.is_accepted:
        return
    ranks, stages = _size(job, _RANKS), _size(job, _STAGES)
    is_excess = any(problem.kind is EngineProblemKind.LAYOUT for problem in job.engine_problems)
    if not is_excess and _can_share(job, ranks):
        return
    if not (ranks * stages <= num_gpus * job.num_nodes and _can_share(job, ranks)):
        ranks, stages = _most_ranks(job, min(ranks, num_gpus), num_gpus), job.num_nodes
    wanted = {_RANKS: ranks, _COPIES: 1, _STAGES: stages}
    values = {name: size for name, size in wanted.items() if size != _size(job, name)}
    reason = _reason(job, ranks * stages, num_gpus * job.num_nodes)
    change = set_values(job, context, values, reason, Preserves.INTENT) if values else None
    if change is not None:
        yield change


def _most_ranks(job: ServingJob, at_most: int, num_gpus: int) -> int:
    return max(size for size in range(1, at_most + 1) if num_gpus % size == 0 and _can_share(job, size))


def _reason(job: ServingJob, num_used: int, num_gpus: int) -> str:
    ranks = _size(job, _RANKS)
    asked = ranks * _size(job, _COPIES) * _size(job, _STAGES)
    model = job.model.value.name if job.model is not None else "the model"
    if asked > num_gpus:
        owner = "the node has" if job.num_nodes == 1 else f"{job.num_nodes} nodes have"
        why = f"{asked} GPUs are requested and {owner} {num_gpus}: the server fails to start"
    else:
        why = f"{ranks} GPUs cannot share the heads of {model}: the server fails to start; {num_used} can"
    idle = num_gpus - num_used
    return f"{why}; {idle} of {num_gpus} GPUs stay idle" if idle else why


def _size(job: ServingJob, name: str) -> int:
    served = job.parsed.values.get(name)
    return served.value if served is not None and isinstance(served.value, int) and served.value > 0 else 1


def _can_share(job: ServingJob, ranks: int) -> bool:
    """Return whether ranks can divide a model's heads, which an unknown model is taken to allow."""
    if job.model is None:
        return True
    heads, shared = job.model.value.num_heads, job.model.value.num_kv_heads
    return heads % ranks == 0 and (shared % ranks == 0 or ranks % shared == 0)
