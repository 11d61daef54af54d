"""What is remembered has a bound on its size."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.memo import Memo, PlainKey, SizedCache

SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60)


def test_a_value_is_made_once_for_each_key() -> None:
    memo, made = Memo(), []

    for key in ("a", "b", "a"):
        memo.get(key, lambda key=key: made.append(key))  # type: ignore[misc]  # None is a value like any other

    assert made == ["a", "b"]


@given(SIZES)
def test_the_newest_is_held_and_all_others_fit_the_bound(puts: list[tuple[int, int]]) -> None:
    cache: SizedCache[int, int] = SizedCache(100)
    sizes: dict[int, int] = {}
    for key, size in puts:
        cache.put(key, size, size)
        sizes[key] = size
        held = [other for other in sizes if cache.get(other) is not None]
        assert cache.get(key) == size
        assert sum(sizes[other] for other in held) <= 100 or held == [key]


def test_what_was_used_last_stays_longest() -> None:
    cache: SizedCache[str, str] = SizedCache(3)
    for key in "abc":
        cache.put(key, key, 1)

    cache.get("a")
    cache.put("d", "d", 1)

    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_plain_data_of_one_content_is_one_key(value: object) -> None:
    one, other = PlainKey(value), PlainKey(copy.deepcopy(value))

    assert (one, hash(one)) == (other, hash(other))


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (1, 1.0), (1, "1"), ([1], (1,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
)
def test_plain_data_that_python_calls_equal_may_be_two_keys(one: object, other: object) -> None:
    assert PlainKey(one) != PlainKey(other)


def test_an_integer_that_python_does_not_print_equals_nothing_else() -> None:
    one, other = PlainKey(10**5000), PlainKey(10**5000)

    assert one == one  # that it equals itself is what is tested
    assert one != other
