"""What a searched choice says of itself; the search, its judge and the passes know no choice by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.workload import Workload
from kaitoc.compiler.passes.model import Change, PassContext
from kaitoc.compiler.passes.options import set_to
from kaitoc.compiler.passes.situation import Situation
from kaitoc.compiler.passes.space import Alternative

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What a choice is asked about: a job, the run whose present values count, and the bounds of the passes."""

    job: Job
    run: Situation
    context: PassContext


def writes(section: str, name: str) -> Callable[[Question, Alternative[Any], str], Change]:
    """Return a function that writes the chosen value as it is into an option of the manifest."""

    def change(question: Question, chosen: Alternative[Any], reason: str) -> Change:
        return set_to(question.job, section, name, chosen.value, reason, chosen.preserves)

    return change


@dataclass(frozen=True, slots=True, eq=False)
class Choice(Generic[T]):
    """One dimension of the search.

    `present` is the value of a training step as it is. `alternatives` are the other values that a run may take, the
    mildest first; none where there is no choice. `apply` makes the training step that a value gives a run, and `change`
    writes the value into the manifest, with the reason to report. The reasons say why a value other than the present
    one makes a run fit, or makes it faster.

    `costs_memory`: its faster value always takes more memory, so that what looks for speed at no cost leaves it alone.
    `stays_open`: what was chosen to make a run fit may be chosen again to make it faster.
    """

    name: str
    fit_reason: str
    speed_reason: str
    present: Callable[[Workload], T]
    alternatives: Callable[[Question], Iterable[Alternative[T]]]
    apply: Callable[[Situation, Workload, T], Workload]
    change: Callable[[Question, Alternative[T], str], Change]
    costs_memory: bool = False
    stays_open: bool = False

    def values_for(self, question: Question) -> tuple[Alternative[T], ...]:
        """Return the present value and what may be chosen instead."""
        return (Alternative(self.present(question.run.workload)), *self.alternatives(question))
