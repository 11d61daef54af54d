"""The operations of the closed form, one by one, against measured peaks (`tests/bench/memory/data/kernels`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "memory"))

from kernels import KERNELS, KernelError, kernel_errors

ERRORS = kernel_errors()
BOUNDS = (0.0005, 0.001)
# How many different words a batch has is not recorded; each token is taken to be another one.
BOUNDS_OF = {"embedding": (0.003, 0.02)}


def _of(kernel: str) -> list[KernelError]:
    return [error for error in ERRORS if error.kernel == kernel]


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_operation_holds_what_was_measured_forward_and_backward(kernel: str) -> None:
    shares = [abs(error.share) for error in _of(kernel)]
    mean, worst = BOUNDS_OF.get(kernel, BOUNDS)
    assert sum(shares) / len(shares) <= mean
    assert max(shares) <= worst, max(_of(kernel), key=lambda error: abs(error.share)).name


def test_all_but_the_rows_that_cannot_be_compared_are_scored() -> None:
    num_first_of_a_series, num_below_the_allocators_least = 2, 1
    assert len(ERRORS) == 90 - num_first_of_a_series - num_below_the_allocators_least
