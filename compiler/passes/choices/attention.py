"""The attention implementation: SDPA computes what eager attention computes, faster and in less memory."""

from __future__ import annotations

from collections.abc import Iterator

from kaitoc.compiler.core.records import replace
from kaitoc.compiler.job.job import Target
from kaitoc.compiler.memory.workload import Attention, Workload
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative


def _present(workload: Workload) -> Attention:
    return workload.attention


def _alternatives(question: Question) -> Iterator[Alternative[Attention]]:
    """Kaito's image cannot choose; ours can."""
    if question.job.target is Target.BUNDLED and question.run.workload.attention is Attention.EAGER:
        yield Alternative(Attention.SDPA)


def _apply(_: Situation, workload: Workload, value: Attention) -> Workload:
    return replace(workload, attention=value)


def _change(question: Question, chosen: Alternative[Attention], reason: str) -> Change:
    section, name = "ModelConfig", "attn_implementation"
    return set_to(question.job, section, name, chosen.value.value, reason, chosen.preserves)


CHOICE = Choice(
    name="attention",
    fit_reason="fused attention never holds the scores of all pairs of tokens",
    speed_reason="the fused kernel computes the same attention in one pass over memory",
    present=_present,
    alternatives=_alternatives,
    apply=_apply,
    change=_change,
)
