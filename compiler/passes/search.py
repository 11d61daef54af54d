"""The exact search for the best configuration: every combination of a few discrete choices, judged by the closed form.

Candidates are visited in the order of the goal and judged lazily, so that the search ends at the first that fits; the
result is that of judging them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes import space as spaces
from kaitoc.compiler.passes.choices.choice import Choice
from kaitoc.compiler.passes.model import Goal, Preserve
from kaitoc.compiler.passes.space import TIE

WORTHWHILE = 0.02
"""The share of time a change must save to be made when nobody asked for speed."""

Space: TypeAlias = spaces.Space[Choice[Any]]
Candidate: TypeAlias = spaces.Candidate[Choice[Any]]


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known of a candidate at once: whether it fits (None: only the footprint tells), and its live memory.

    `least_bytes` is the predicted peak of live tensors with the context, what a device holds without fragmentation; it
    is what "lower" means to the search.
    """

    fits: bool | None
    fits_tightly: bool
    least_bytes: int


@dataclass(slots=True)
class Judge:
    """Judges candidates once each.

    `seconds` is the time per token, `hint` what microseconds can tell, `decide` whether a candidate fits by the whole
    footprint, which is dear. `accepts` is the worst verdict that counts as fitting.
    """

    seconds: Callable[[Candidate], float]
    decide: Callable[[Candidate], bool]
    hint: Callable[[Candidate], Hint]
    accepts: Verdict = Verdict.FITS
    _decided: dict[tuple[int, ...], bool] = field(default_factory=dict)
    _seconds: dict[tuple[int, ...], float] = field(default_factory=dict)

    def time(self, candidate: Candidate) -> float:
        """Return the seconds per token of a candidate, from memory when they were asked for before."""
        found = self._seconds.get(candidate.places)
        if found is None:
            found = self._seconds[candidate.places] = self.seconds(candidate)
        return found

    def fits(self, candidate: Candidate) -> bool:
        """Return whether a candidate fits: with its margin, or where that is accepted at least tightly."""
        hint = self.hint(candidate)
        if self.accepts is Verdict.TIGHT:
            return hint.fits_tightly
        if hint.fits is not None:
            return hint.fits
        found = self._decided.get(candidate.places)
        if found is None:
            found = self._decided[candidate.places] = self.decide(candidate)
        return found

    def accepting(self, verdict: Verdict) -> Judge:
        """Return this judge with another worst verdict; what was judged stays known."""
        return replace(self, accepts=verdict)


def search(space: Space, judge: Judge, goal: Goal, preserve: Preserve) -> Candidate | None:
    """Return the best candidate that fits, None when none does.

    The goal's measure decides, what is within `TIE` of the best counts as equal, and then the smaller change wins.
    """
    candidates = sorted(space.candidates(preserve), key=lambda candidate: candidate.change_key)
    if goal is Goal.FIT:
        return _smallest_that_fits(candidates, judge)
    if goal is Goal.MEMORY:
        return spaces.best_by(candidates, lambda one: judge.hint(one).least_bytes, judge.fits)
    return spaces.best_by(candidates, judge.time, judge.fits)


def _smallest_that_fits(candidates: list[Candidate], judge: Judge) -> Candidate | None:
    """Return the smallest change that fits, with what makes it faster at no cost of memory or result."""
    smallest = next(filter(judge.fits, candidates), None)
    if smallest is None:
        return None
    return _free_speed(smallest, candidates, judge) or smallest


def _free_speed(start: Candidate, candidates: list[Candidate], judge: Judge) -> Candidate | None:
    """Return the candidate that is faster than `start` by more than `WORTHWHILE` and exactly as good otherwise."""
    limit = judge.time(start) * (1 - WORTHWHILE)
    peak = judge.hint(start).least_bytes
    faster = [
        candidate
        for candidate in candidates
        if _extends(start, candidate) and candidate.severity <= max(1, start.severity)
        and judge.time(candidate) <= limit
    ]  # fmt: skip
    better = spaces.first_by(faster, judge.time, lambda one: judge.hint(one).least_bytes <= peak and judge.fits(one))
    if better is None:
        return None
    best_seconds = judge.time(better)
    close = (one for one in faster if judge.time(one) <= best_seconds * (1 + TIE))
    return next((one for one in close if judge.hint(one).least_bytes <= peak and judge.fits(one)), better)


def _extends(start: Candidate, candidate: Candidate) -> bool:
    """Return whether a candidate keeps what `start` changed, and all that is faster only at the cost of memory.

    Choices that stay open are free: the parts of a batch may be smaller than those that fit, where that is faster.
    """
    return all(
        candidate.values[choice] == value
        for choice, value in start.values.items()
        if (choice in start.changed or choice.costs_memory) and not choice.stays_open
    )
