"""Frozen mappings are values: equal and hashed by content, and out of reach of what they were made of."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.frozen import FrozenMapping

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=5)


@given(OBJECTS)
def test_it_holds_what_it_is_made_of(values: dict[str, object]) -> None:
    assert dict(FrozenMapping(values)) == values


@given(OBJECTS, OBJECTS)
def test_two_are_equal_exactly_when_their_json_is(one: dict[str, object], other: dict[str, object]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (FrozenMapping(one) == FrozenMapping(other)) == same


@given(OBJECTS)
def test_equal_content_in_another_order_has_one_hash(values: dict[str, object]) -> None:
    turned = dict(reversed(values.items()))

    assert FrozenMapping(values) == FrozenMapping(turned)
    assert hash(FrozenMapping(values)) == hash(FrozenMapping(turned))


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (0, False), ([1], [True]), ("1", 1)])
def test_values_of_two_types_differ(one: object, other: object) -> None:
    assert FrozenMapping({"key": one}) != FrozenMapping({"key": other})


def test_nothing_changes_it() -> None:
    inner = {"factor": 2.0}
    made_of = {"rope": inner, "layers": ["full"]}
    frozen, same = FrozenMapping(made_of), FrozenMapping(made_of)

    inner["factor"] = 4.0
    made_of["layers"] = []
    frozen["rope"]["factor"] = 8.0  # type: ignore[index]  # a copy is what changes
    frozen["layers"].append("sliding")  # type: ignore[attr-defined]  # as above

    assert (frozen, dict(frozen)) == (same, {"rope": {"factor": 2.0}, "layers": ["full"]})


@given(OBJECTS)
def test_it_survives_pickling(values: dict[str, object]) -> None:
    frozen = FrozenMapping(values)

    assert pickle.loads(pickle.dumps(frozen)) == frozen  # noqa: S301
