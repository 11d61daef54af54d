"""What a search goes over: a few discrete choices, every combination of their values, and which of them is best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Generic, TypeVar

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.passes.model import Preserve, Preserves

T = TypeVar("T")
C = TypeVar("C")

TIE = 0.01
"""Predicted times or peaks this close are equal: the models are not more exact, and the smaller change wins."""

ORDER = (Preserves.INTENT, Preserves.EXACT, Preserves.STATISTICAL, Preserves.CHANGES)
"""From what keeps everything to what changes the result."""


@dataclass(frozen=True, slots=True)
class Alternative(Generic[T]):
    """One value of a choice and what taking it, instead of the present value, keeps of the result."""

    value: T
    preserves: Preserves = Preserves.EXACT


@dataclass(frozen=True, slots=True)
class Space(Generic[C]):
    """The values per choice, from the mildest choice to the strongest; the first value of each is the present one."""

    choices: Mapping[C, tuple[Alternative[Any], ...]]

    @property
    def present(self) -> Candidate[C]:
        """Return the candidate of the configuration as written, before any change."""
        return self.at((0,) * len(self.choices))

    def candidates(self, preserve: Preserve) -> list[Candidate[C]]:
        """Return every combination that keeps as much of the result as asked for."""
        allowed = [
            [place for place, one in enumerate(values) if place == 0 or preserve.allows(one.preserves)]
            for values in self.choices.values()
        ]
        return [self.at(places) for places in product(*allowed)]

    def taken(self, candidate: Candidate[C]) -> Iterator[tuple[C, Alternative[Any]]]:
        """Yield what a candidate changes, the mildest choice first."""
        for (choice, values), place in zip(self.choices.items(), candidate.places, strict=True):
            if place:
                yield choice, values[place]

    def at(self, places: tuple[int, ...]) -> Candidate[C]:
        """Return the combination of the values at given places."""
        picked = [
            (choice, place, values[place]) for (choice, values), place in zip(self.choices.items(), places, strict=True)
        ]
        return Candidate(
            {choice: one.value for choice, _, one in picked},
            places,
            tuple(choice for choice, place, _ in picked if place),
            max((ORDER.index(one.preserves) for _, place, one in picked if place), default=0),
        )


@dataclass(frozen=True, slots=True)
class Candidate(Generic[C]):
    """One combination: the value of each choice, their places among its values, and which differ from the present.

    `severity` is the place of the weightiest change in the order from "keeps everything" to "changes the result".
    """

    values: Mapping[C, Any]
    places: tuple[int, ...]
    changed: tuple[C, ...]
    severity: int

    @property
    def change_key(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Order candidates from the smallest change to the largest; no two are equal."""
        changed = tuple(number for number, place in enumerate(self.places) if place)
        return (self.severity, len(changed), changed, self.places)


def first_by(
    candidates: Iterable[Candidate[C]],
    measure: Callable[[Candidate[C]], float],
    accepts: Callable[[Candidate[C]], bool],
) -> Candidate[C] | None:
    """Return the accepted candidate of the lowest measure; of equal ones the first."""
    return next(filter(accepts, sorted(candidates, key=measure)), None)


def best_by(
    candidates: list[Candidate[C]],
    measure: Callable[[Candidate[C]], float],
    accepts: Callable[[Candidate[C]], bool],
) -> Candidate[C] | None:
    """Return the first accepted candidate whose measure is within `TIE` of the lowest, None where none is accepted."""
    best = first_by(candidates, measure, accepts)
    if best is None:
        return None
    limit = measure(best) * (1 + TIE)
    return next((one for one in candidates if measure(one) <= limit and accepts(one)), best)
