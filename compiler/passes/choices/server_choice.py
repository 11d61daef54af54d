"""What a searched choice of a server says of itself; the search and the passes know no choice by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.core.units import format_gib
from kaitoc.compiler.passes.model import Goal
from kaitoc.compiler.passes.server_run import ServingRun
from kaitoc.compiler.passes.space import Alternative

T = TypeVar("T")

Runs: TypeAlias = "tuple[ServingRun, ...]"
"""All servers that one ConfigMap configures, the one that is compiled first."""


@dataclass(frozen=True, slots=True)
class ServingQuestion:
    """What a choice is asked about: the servers, and whether they shall start or serve better."""

    runs: Runs
    goal: Goal

    @property
    def run(self) -> ServingRun:
        """Return the server that is compiled."""
        return self.runs[0]

    @property
    def is_about_starting(self) -> bool:
        """Return whether nothing but a start is wanted."""
        return self.goal is Goal.FIT


@dataclass(frozen=True, slots=True, eq=False)
class ServingChoice(Generic[T]):
    """One dimension of the search.

    `present` is the value as it is. `alternatives` are the others that the servers may take, the mildest first. `apply`
    makes the servers that a value gives, and `values` are the options to write for one of them. `reason` says why,
    with the numbers before and after. `is_monotone`: for a start, every value takes less room than the one before it.
    """

    name: str
    present: Callable[[ServingRun], T]
    alternatives: Callable[[ServingQuestion], Iterable[Alternative[T]]]
    apply: Callable[[Runs, T], Runs]
    values: Callable[[ServingRun], Mapping[str, object]]
    reason: Callable[[ServingRun, ServingRun], str]
    is_monotone: bool = False

    def values_for(self, question: ServingQuestion) -> tuple[Alternative[Any], ...]:
        """Return the present value and what may be chosen instead."""
        return (Alternative(self.present(question.run)), *self.alternatives(question))


def cache_moves(before: ServingRun, after: ServingRun) -> str:
    """Format the KV cache of the tightest GPU before and after; empty when it does not change."""
    was, now = (max(0, run.footprint.tightest.available_bytes) if run.footprint else 0 for run in (before, after))
    return f": {format_gib(now)} instead of {format_gib(was)} for the KV cache of a GPU" if was != now else ""


def halves(size: int, least: int) -> Iterator[Alternative[int]]:
    """Yield half a size, half of that and so on."""
    while size // 2 >= least:
        size //= 2
        yield Alternative(size)


def doubles(size: int, most: int) -> Iterator[Alternative[int]]:
    """Yield twice a size, twice that and so on."""
    while size * 2 <= most:
        size *= 2
        yield Alternative(size)
