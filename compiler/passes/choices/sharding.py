"""Whether the GPUs of a job share its model: weights, gradients and states split by FSDP2 instead of whole copies.

The bundled runtime splits by itself what no GPU holds; what fits narrowly it copies. Kaito's image only copies. With
`bf16` and `fp16` shards of gradients are added up in the half type (`set_mixed_precision` of accelerate).
"""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Target
from kaitoc.compiler.memory.closed_form.footprint import as_shared
from kaitoc.compiler.memory.sharing import FULL_SHARD, sharded
from kaitoc.compiler.memory.workload import Quantization, Workload, WorkloadError
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def _present(_: Workload) -> bool:
    """Whether to split what is not split yet; what is stays so."""
    return False


def _alternatives(question: Question) -> Iterator[Alternative[bool]]:
    run, job = question.run, question.job
    if job.target is not Target.BUNDLED or run.num_gpus < 2 or run.workload.quantization is Quantization.INT8:
        return
    try:
        is_split = as_shared(run.workload, run.gpu).sharding.is_sharded
    except WorkloadError:
        return
    if not is_split:
        yield Alternative(True, Preserves.STATISTICAL)


def _apply(_: Situation, workload: Workload, value: bool) -> Workload:  # the value of the choice
    return replace(workload, sharding=sharded(workload)) if value else workload


def _change(question: Question, chosen: Alternative[bool], reason: str) -> Change:
    return set_to(question.job, "TrainingArguments", "fsdp", FULL_SHARD, reason, chosen.preserves)


CHOICE = Choice(
    name="sharding",
    fit_reason="weights, gradients and optimizer states split over the GPUs instead of copied to each",
    speed_reason="sharding the model leaves room for larger batches",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
