"""The search over a server's choices: the smallest change with which it starts, or the best for a goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.job.serving_job import ServingJob
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes import space as spaces
from kaitoc.compiler.passes.choices import SERVING_CHOICES
from kaitoc.compiler.passes.choices.server_choice import Runs, ServingChoice, ServingQuestion
from kaitoc.compiler.passes.model import Change, Goal, Preserve, Preserves
from kaitoc.compiler.passes.server_model import ServingContext
from kaitoc.compiler.passes.server_options import set_values
from kaitoc.compiler.passes.server_run import ServingRun, runs_of
from kaitoc.compiler.passes.space import ORDER

Candidate: TypeAlias = spaces.Candidate[ServingChoice[Any]]
Space: TypeAlias = spaces.Space[ServingChoice[Any]]


@dataclass(slots=True)
class ServingSearch:
    """A server's search, ready to be asked; what was computed of a candidate stays known."""

    job: ServingJob
    runs: Runs
    space: Space
    context: ServingContext
    _varied: dict[tuple[int, ...], Runs] = field(default_factory=dict)
    _least: dict[tuple[int, ...], bool] = field(default_factory=dict)

    def varied(self, candidate: Candidate) -> Runs:
        """Return the servers with a candidate's values."""
        found = self._varied.get(candidate.places)
        if found is None:
            found = self.runs
            for choice, alternative in self.space.taken(candidate):
                found = choice.apply(found, alternative.value)
            self._varied[candidate.places] = found
        return found

    def fits(self, candidate: Candidate) -> bool:
        """Return whether all servers surely start."""
        return all(run.verdict is Verdict.FITS for run in self.varied(candidate))

    def candidates(self, preserve: Preserve) -> list[Candidate]:
        """Return every combination that may be made, the smallest change first."""
        return sorted(self.space.candidates(preserve), key=lambda candidate: candidate.change_key)

    def smallest_that_fits(self, preserve: Preserve) -> Candidate | None:
        """Return the smallest change with which all servers surely start, None for none."""
        return next((one for one in self.candidates(preserve) if self._may_fit(one) and self.fits(one)), None)

    def _may_fit(self, candidate: Candidate) -> bool:
        """Return whether servers with the least value of each monotone choice start: if not, none of the others do."""
        places = tuple(
            len(values) - 1 if choice.is_monotone else place
            for (choice, values), place in zip(self.space.choices.items(), candidate.places, strict=True)
        )
        if places not in self._least:
            self._least[places] = self.fits(self.space.at(places))
        return self._least[places]

    def best(self, seconds: Callable[[ServingRun], float]) -> Candidate | None:
        """Find the fastest configuration for the first server that surely starts; on a tie, the smallest change."""
        known: dict[tuple[int, ...], float] = {}

        def measure(candidate: Candidate) -> float:
            if candidate.places not in known:
                known[candidate.places] = seconds(self.varied(candidate)[0])
            return known[candidate.places]

        return spaces.best_by(self.candidates(self.context.preserve), measure, self.fits)

    def change(self, candidate: Candidate) -> Change | None:
        """Return the change that makes a candidate of the server, with the reason of each choice, the mildest first.

        It is one change: a server that starts with all of it may not start with a part.
        """
        before, values, reasons, preserves = self.runs, dict[str, object](), list[str](), Preserves.EXACT
        for choice, alternative in self.space.taken(candidate):
            after = choice.apply(before, alternative.value)
            values.update(choice.values(after[0]))
            reasons.append(choice.reason(before[0], after[0]))
            preserves = max(preserves, alternative.preserves, key=ORDER.index)
            before = after
        return set_values(self.job, self.context, values, "; ".join(reasons), preserves) if values else None


def search_for_server(job: ServingJob, context: ServingContext, goal: Goal) -> ServingSearch | None:
    """Return the search for a server, None where what it or a sibling needs is unknown."""
    runs = runs_of(job, context)
    if not runs:
        return None
    question = ServingQuestion(runs, goal)
    space: Space = spaces.Space({choice: choice.values_for(question) for choice in SERVING_CHOICES})
    return ServingSearch(job, runs, space, context)
