"""Words that messages are made of."""

from __future__ import annotations

import pytest

from kaitoc.compiler.core.wording import gib, join_names


@pytest.mark.parametrize(
    ("names", "words"),
    [([], ""), (["a"], "`a`"), (["a", "b"], "`a` and `b`"), (["a", "b", "c"], "`a`, `b` and `c`")],
)
def test_names_are_listed_as_a_sentence_lists_them(names: list[str], words: str) -> None:
    assert join_names(names) == words


def test_a_size_has_one_decimal() -> None:
    assert gib(3 * 2**30 + 2**29) == "3.5"
