"""The exact search for the best configuration: every combination of a few discrete choices, judged by the closed form.

Candidates are visited in the order of the goal and judged lazily, so that the search ends at the first that fits; the
result is that of judging them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from kaitoc.compiler.core.records import dataclass, field, replace
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.choices.model import Alternative, Choice
from kaitoc.compiler.passes.model import Goal, Preserve, Preserves

TIE = 0.01
"""Predicted times or peaks this close are equal: the models are not more exact, and the smaller change wins."""

WORTHWHILE = 0.02
"""The share of time a change must save to be made when nobody asked for speed."""

_ORDER = (Preserves.INTENT, Preserves.EXACT, Preserves.STATISTICAL, Preserves.CHANGES)


@dataclass(frozen=True, slots=True)
class Space:
    """The values per choice, from the mildest choice to the strongest; the first value of each is the present one."""

    choices: Mapping[Choice[Any], tuple[Alternative[Any], ...]]

    @property
    def present(self) -> Candidate:
        """Return the configuration as it is."""
        return self._candidate((0,) * len(self.choices))

    def candidates(self, preserve: Preserve) -> list[Candidate]:
        """Return every combination that keeps as much of the result as asked for."""
        allowed = [
            [place for place, one in enumerate(values) if place == 0 or preserve.allows(one.preserves)]
            for values in self.choices.values()
        ]
        return [self._candidate(places) for places in product(*allowed)]

    def taken(self, candidate: Candidate) -> Iterator[tuple[Choice[Any], Alternative[Any]]]:
        """Yield what a candidate changes, the mildest choice first."""
        for (choice, values), place in zip(self.choices.items(), candidate.places, strict=True):
            if place:
                yield choice, values[place]

    def _candidate(self, places: tuple[int, ...]) -> Candidate:
        picked = [
            (choice, place, values[place]) for (choice, values), place in zip(self.choices.items(), places, strict=True)
        ]
        return Candidate(
            {choice: one.value for choice, _, one in picked},
            places,
            tuple(choice for choice, place, _ in picked if place),
            max((_ORDER.index(one.preserves) for _, place, one in picked if place), default=0),
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination: the value of each choice, their places among its values, and which differ from the present.

    `severity` is the place of the weightiest change in the order from "keeps everything" to "changes the result".
    """

    values: Mapping[Choice[Any], Any]
    places: tuple[int, ...]
    changed: tuple[Choice[Any], ...]
    severity: int

    @property
    def change_key(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Order candidates from the smallest change to the largest; no two are equal."""
        changed = tuple(number for number, place in enumerate(self.places) if place)
        return (self.severity, len(changed), changed, self.places)


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
        return _leanest_that_fits(candidates, judge)
    return _fastest_that_fits(candidates, judge)


def _smallest_that_fits(candidates: list[Candidate], judge: Judge) -> Candidate | None:
    """Return the smallest change that fits, with what makes it faster at no cost of memory or result."""
    smallest = next(filter(judge.fits, candidates), None)
    if smallest is None:
        return None
    return _free_speed(smallest, candidates, judge) or smallest


def _free_speed(start: Candidate, candidates: list[Candidate], judge: Judge) -> Candidate | None:
    """Return what is faster than `start` by more than `WORTHWHILE` and exactly as good otherwise."""
    limit = judge.time(start) * (1 - WORTHWHILE)
    peak = judge.hint(start).least_bytes
    faster = [
        candidate
        for candidate in candidates
        if _extends(start, candidate) and candidate.severity <= max(1, start.severity)
        and judge.time(candidate) <= limit
    ]  # fmt: skip
    better = _first_by(faster, judge.time, lambda one: judge.hint(one).least_bytes <= peak and judge.fits(one))
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


def _fastest_that_fits(candidates: list[Candidate], judge: Judge) -> Candidate | None:
    best = _first_by(candidates, judge.time, judge.fits)
    if best is None:
        return None
    limit = judge.time(best) * (1 + TIE)
    return next((one for one in candidates if judge.time(one) <= limit and judge.fits(one)), best)


def _first_by(
    candidates: Iterable[Candidate], measure: Callable[[Candidate], float], accepts: Callable[[Candidate], bool]
) -> Candidate | None:
    """Return the accepted candidate of the lowest measure; of equal ones the first."""
    return next(filter(accepts, sorted(candidates, key=measure)), None)


def _leanest_that_fits(candidates: list[Candidate], judge: Judge) -> Candidate | None:
    best = _first_by(candidates, lambda one: judge.hint(one).least_bytes, judge.fits)
    if best is None:
        return None
    limit = judge.hint(best).least_bytes * (1 + TIE)
    return next((one for one in candidates if judge.hint(one).least_bytes <= limit and judge.fits(one)), best)
