"""From the search's best candidate to the changes of a manifest, one per choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.job.job import Job
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.choices.choice import Choice, Question
from kaitoc.compiler.passes.model import Change, PassContext
from kaitoc.compiler.passes.search import Candidate, Judge, Space, search
from kaitoc.compiler.passes.search_space import judge_for, space_of
from kaitoc.compiler.passes.situation import Situation, situations


@dataclass(frozen=True, slots=True)
class Search:
    """A job's search, ready to be asked."""

    job: Job
    runs: tuple[Situation, ...]
    space: Space
    judge: Judge
    context: PassContext

    @property
    def present(self) -> Candidate:
        """Return the candidate of the configuration as written, before any change."""
        return self.space.present

    @property
    def fits(self) -> bool:
        """Return whether the configuration fits as it is."""
        return self.judge.fits(self.present)

    def fitting(self) -> Candidate | None:
        """Return the best candidate for the context's goal that fits with its margin, None when none does."""
        return search(self.space, self.judge, self.context.goal, self.context.preserve)

    def best(self) -> Candidate | None:
        """Return the best candidate that fits, or tightly fits where the present does not at all; else None."""
        found = self.fitting()
        if found is not None or self.judge.hint(self.present).fits_tightly:
            return found
        tight = self.judge.accepting(Verdict.TIGHT)
        return search(self.space, tight, self.context.goal, self.context.preserve)

    def smallest(self) -> Candidate:
        """Return the candidate of the lowest floor, fit or not."""
        candidates = self.space.candidates(self.context.preserve)
        return min(candidates, key=lambda one: (self.judge.hint(one).least_bytes, one.change_key))


def search_for(job: Job, context: PassContext) -> Search | None:
    """Return the search for a job, None when its model, its GPU or a sibling's is unknown."""
    runs = situations(job, context)
    return search_for_runs(job, context, runs) if runs else None


def search_for_runs(job: Job, context: PassContext, runs: tuple[Situation, ...]) -> Search:
    """Return the search for a job on given GPUs."""
    return Search(job, runs, space_of(Question(job, runs[0], context)), judge_for(runs), context)


def changes_of(found: Search, candidate: Candidate, reason_of: Callable[[Choice[Any]], str]) -> Iterator[Change]:
    """Yield the changes that make a candidate of the job, the mildest first, each with its reason."""
    question = Question(found.job, found.runs[0], found.context)
    for choice, alternative in found.space.taken(candidate):
        yield choice.change(question, alternative, reason_of(choice))
