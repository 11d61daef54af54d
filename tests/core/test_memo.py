"""What is remembered has a bound on its size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.memo import Memo, SizedCache

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
