"""The optimizer: AdamW with 8-bit states follows 32-bit AdamW's course (arXiv:2110.02861); other optimizers stay."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.memory.workload import Optimizer, Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative

_REPLACEABLE = (Optimizer.ADAMW, Optimizer.ADAMW_FUSED, Optimizer.ADAMW_8BIT)
_NAMES = {Optimizer.PAGED_ADAMW_8BIT: "paged_adamw_8bit"}


def _present(workload: Workload) -> Optimizer:
    return workload.optimizer


def _alternatives(question: Question) -> Iterator[Alternative[Optimizer]]:
    if question.run.workload.optimizer in _REPLACEABLE:
        yield Alternative(Optimizer.PAGED_ADAMW_8BIT, Preserves.STATISTICAL)


def _apply(_: Situation, workload: Workload, value: Optimizer) -> Workload:
    return replace(workload, optimizer=value)


def _change(question: Question, chosen: Alternative[Optimizer], reason: str) -> Change:
    return set_to(question.job, "TrainingArguments", "optim", _NAMES[chosen.value], reason, chosen.preserves)


CHOICE = Choice(
    name="optimizer",
    fit_reason="8-bit optimizer states in memory that can be paged to the host",
    speed_reason="there is room for optimizer states that are faster to update",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
