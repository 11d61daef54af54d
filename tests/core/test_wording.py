"""Words that messages are made of."""

from __future__ import annotations

import pytest

from kaitoc.compiler.core.wording import join_first, join_names


@pytest.mark.parametrize(
    ("names", "words"),
    [([], ""), (["a"], "`a`"), (["a", "b"], "`a` and `b`"), (["a", "b", "c"], "`a`, `b` and `c`")],
)
def test_names_are_listed_as_a_sentence_lists_them(names: list[str], words: str) -> None:
    assert join_names(names) == words


def test_of_many_names_the_first_are_listed_and_the_others_counted() -> None:
    names = [f"n{number}" for number in range(10)]

    assert join_first(names[:8]).endswith("`n6` and `n7`")
    assert join_first(names) == "`n0`, `n1`, `n2`, `n3`, `n4`, `n5`, `n6`, `n7` and 2 more"
