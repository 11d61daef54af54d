"""Curves of the report of a run: axes that can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.runtime.observe.curves import axis, curve

VALUES = st.lists(st.floats(-1e9, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-9), min_size=2, max_size=9)


@given(VALUES)
def test_no_two_ticks_look_the_same_and_all_values_lie_between_them(values: list[float]) -> None:
    ticks, labels = axis(values)
    assert len(set(labels)) == len(labels) <= 8
    slack = (ticks[-1] - ticks[0]) * 1e-5
    assert ticks[0] - slack <= min(values) <= max(values) <= ticks[-1] + slack


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.6839, 0.6848), ["0.68375", "0.68400", "0.68425", "0.68450", "0.68475", "0.68500"]),
        ((356.0, 438.0), ["350", "375", "400", "425", "450"]),
        ((2e-5, 2e-5), ["1.0e-05", "1.5e-05", "2.0e-05", "2.5e-05", "3.0e-05"]),
        ((0.0, 0.0), ["-0.50", "-0.25", "0.00", "0.25", "0.50"]),
        ((1200.0, 9000.0), ["0", "2,500", "5,000", "7,500", "10,000"]),
    ],
)
def test_ticks_are_round(values: tuple[float, ...], expected: list[str]) -> None:
    assert axis(values)[1] == expected


def test_a_single_point_is_no_curve() -> None:
    assert curve("Loss", [(1, 2.0)]) == ""
