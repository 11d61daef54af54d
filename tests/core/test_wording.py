"""Words that messages are made of."""

from __future__ import annotations

import pytest

from kaitoc.compiler.core.wording import join_names


@pytest.mark.parametrize(
    ("names", "words"),
    [([], ""), (["a"], "`a`"), (["a", "b"], "`a` and `b`"), (["a", "b", "c"], "`a`, `b` and `c`")],
)
def test_names_are_listed_as_a_sentence_lists_them(names: list[str], words: str) -> None:
    assert join_names(names) == words
