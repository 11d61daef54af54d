"""The sequence length: halves of the present one; what is cut off is not learned."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.kaito.argument_table import release_arguments
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, Preserves
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative

_SHORTEST_TOKENS = 512


def _present(workload: Workload) -> int:
    return workload.seq_len_tokens


def _alternatives(question: Question) -> Iterator[Alternative[int]]:
    job = question.job
    arguments = release_arguments(job.args_release).sections["TrainingArguments"].arguments
    if "max_length" not in arguments or job.assumptions.seq_len_tokens is not None:
        return
    shorter = question.run.workload.seq_len_tokens // 2
    while shorter >= _SHORTEST_TOKENS:
        yield Alternative(shorter, Preserves.CHANGES)
        shorter //= 2


def _apply(_: Situation, workload: Workload, value: int) -> Workload:
    return replace(workload, seq_len_tokens=value)


def _change(question: Question, chosen: Alternative[int], reason: str) -> Change:
    return set_to(question.job, "TrainingArguments", "max_length", chosen.value, reason, chosen.preserves)


CHOICE = Choice(
    name="sequence length",
    fit_reason="shorter sequences: truncated text is not learned",
    speed_reason="shorter sequences are faster: truncated text is not learned",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
