"""Choices that bound one step of the server: their value is a limit that the workload states or vLLM defaults to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kaitoc.compiler.memory.serving.activations import BatchLimits
from kaitoc.compiler.passes.choices.server_choice import ServingChoice, ServingQuestion, cache_moves
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative


def batch_limit_choice(
    name: str,
    option: str,
    field: str,
    read: Callable[[BatchLimits], int],
    alternatives: Callable[[ServingQuestion, int], Iterator[Alternative[int]]],
    *,
    more: str,
    fewer: str,
) -> ServingChoice[int]:
    """Make the choice of an option that is a `field` of the workload.

    `alternatives` is asked with the present limit. `more` and `fewer` say why, with `{now}` and `{was}`.
    """

    def present(run: ServingRun) -> int:
        return read(run.footprint.limits) if run.footprint is not None else 0

    def reason(before: ServingRun, after: ServingRun) -> str:
        was, now = present(before), present(after)
        words = (more if now > was else fewer).format(now=f"{now:,}", was=f"{was:,}")
        return f"{words}{cache_moves(before, after)}"

    return ServingChoice(
        name,
        present,
        lambda question: alternatives(question, present(question.run)),
        lambda runs, value: tuple(run.varied(**{field: value}) for run in runs),
        lambda run: {option: getattr(run.workload, field)},
        reason,
        is_monotone=True,
    )
