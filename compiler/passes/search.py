"""The exact search for the best configuration: every combination of a few discrete choices, judged by the closed form.

Candidates are visited in the order of the goal and judged lazily, so that the search ends at the first that fits; the
result is that of judging them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import Enum
from itertools import product

from kaitoc.compiler.core.records import dataclass, field
from kaitoc.compiler.memory.result import Verdict
from kaitoc.compiler.passes.model import Goal, Preserve, Preserves

TIE = 0.01
"""Predicted times or peaks this close are equal: the models are not more exact, and the smaller change wins."""

WORTHWHILE = 0.02
"""The share of time a change must save to be made when nobody asked for speed."""

_ORDER = (Preserves.INTENT, Preserves.EXACT, Preserves.STATISTICAL, Preserves.CHANGES)


class Dimension(str, Enum):
    """What the search may choose, from the mildest to the strongest."""

    CHECKPOINTING = "gradient checkpointing"
    ATTENTION = "attention"
    LOSS = "loss"
    BATCH = "batch"
    OPTIMIZER = "optimizer"
    DOUBLE_QUANT = "double quantisation"
    QUANTIZATION = "quantisation"
    LENGTH = "sequence length"


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a dimension and what taking it, instead of the present value, keeps of the training result."""

    value: object
    preserves: Preserves = Preserves.EXACT


@dataclass(frozen=True, slots=True)
class Space:
    """The choices per dimension; the first of each is the present one."""

    choices: Mapping[Dimension, tuple[Choice, ...]]

    def candidates(self, preserve: Preserve) -> list[Candidate]:
        """Return every combination that keeps as much of the result as asked for."""
        dimensions = list(self.choices)
        allowed = [
            [(index, choice) for index, choice in enumerate(self.choices[dimension])
             if index == 0 or preserve.allows(choice.preserves)]
            for dimension in dimensions
        ]  # fmt: skip
        return [
            Candidate(
                {dimension: choice.value for dimension, (_, choice) in zip(dimensions, picked, strict=True)},
                tuple(index for index, _ in picked),
                tuple(dimension for dimension, (index, _) in zip(dimensions, picked, strict=True) if index),
                max((_ORDER.index(choice.preserves) for index, choice in picked if index), default=0),
            )
            for picked in product(*allowed)
        ]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One combination: values per dimension, their places among the choices, and which differ from the present.

    `severity` is the place of the weightiest change in the order from "keeps everything" to "changes the result".
    """

    values: Mapping[Dimension, object]
    places: tuple[int, ...]
    changed: tuple[Dimension, ...]
    severity: int

    @property
    def change_key(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Order candidates from the smallest change to the largest; no two are equal."""
        order = list(Dimension)
        return (self.severity, len(self.changed), tuple(order.index(d) for d in self.changed), self.places)


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
    """Return whether a candidate keeps what `start` changed, and its checkpointing, which only memory pays for.

    The batch is free: its parts may be smaller than those that fit, where that is faster.
    """
    kept = {*start.changed, Dimension.CHECKPOINTING} - {Dimension.BATCH}
    return all(candidate.values[dimension] == value for dimension, value in start.values.items() if dimension in kept)


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
