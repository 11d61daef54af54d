"""How many sequences a GPU takes at a time; accumulation keeps the effective batch."""

from __future__ import annotations

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.repairs import can_pad_batches
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.options import set_batch
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def _present(workload: Workload) -> int:
    return workload.batch_size


def _alternatives(question: Question) -> list[Alternative[int]]:
    """Divisors of the effective batch: gradients are averaged over the tokens of all its parts (transformers 4.46 and
    later), so the sum is the same; with dropout the random masks differ.
    """
    workload, effective = question.run.workload, question.run.effective_batch
    if not can_pad_batches(question.job):
        return []
    present = workload.batch_size
    preserves = Preserves.STATISTICAL if workload.lora is not None and workload.lora.dropout else Preserves.EXACT
    divisors = (size for size in range(1, effective + 1) if effective % size == 0 and size != present)
    others = sorted(divisors, key=lambda size: max(size / present, present / size))
    return [Alternative(size, preserves) for size in others]


def _apply(run: Situation, workload: Workload, value: int) -> Workload:
    return replace(
        workload, batch_size=value, accumulates=run.effective_batch > value, is_padded=run.pads and value > 1
    )


def _change(question: Question, chosen: Alternative[int], reason: str) -> Change:
    return set_batch(question.job, chosen.value, question.run.effective_batch, reason, chosen.preserves)


CHOICE = Choice(
    name="batch",
    fit_reason="fewer sequences at a time, with the gradients of more steps summed: the same effective batch",
    speed_reason="the same effective batch, split so that it uses the GPU better and still fits",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
    stays_open=True,
)
