"""Samples of grids that take too long to be tried whole each time: `make soak` tries all of them.

The samples are the same in every run and every process, so that a failure is met again.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any, TypeVar

T = TypeVar("T")

WHOLE = "KAITOC_WHOLE_GRIDS"
"""The environment variable with which nothing is left out (`tests/soak/soak_grids.py`)."""


def sample(cases: Iterable[T], number: int, seed: int = 0) -> list[T]:
    """Return so many of the cases, in their order."""
    every = list(cases)
    if WHOLE in os.environ or number >= len(every):
        return every
    return [every[index] for index in sorted(random.Random(seed).sample(range(len(every)), number))]


def covering(*axes: Sequence[Any], repeats: int = 1, seed: int = 0) -> list[tuple[Any, ...]]:
    """Return combinations in which each value of the longest axis occurs `repeats` times, and the others evenly.

    Of those that keep the balance, the one with the most pairs that no other has is taken first.
    """
    every = list(product(*(range(len(axis)) for axis in axes)))
    if WHOLE in os.environ:
        chosen = every
    else:
        random.Random(seed).shuffle(every)
        chosen = sorted(_balanced(every, [len(axis) for axis in axes], repeats * max(map(len, axes))))
    return [tuple(axis[index] for axis, index in zip(axes, case, strict=True)) for case in chosen]


def _balanced(every: list[tuple[int, ...]], lengths: list[int], number: int) -> list[tuple[int, ...]]:
    chosen: list[tuple[int, ...]] = []
    times: Counter[Any] = Counter()

    def cost(case: tuple[int, ...]) -> tuple[int, int]:
        places = list(enumerate(case))
        values = sum(times[place] * lengths[place[0]] for place in places)
        return values, sum(times[pair] for pair in combinations(places, 2))

    while every and len(chosen) < number:
        case = min(every, key=cost)
        every.remove(case)
        chosen.append(case)
        times.update(enumerate(case))
        times.update(combinations(enumerate(case), 2))
    return chosen
