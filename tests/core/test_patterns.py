"""Expressions that are compiled late are used as any other."""

from __future__ import annotations

import re

import pytest

from kaitoc.compiler.core.patterns import pattern

TEXT = r"(?P<name>[a-z]+)\."


@pytest.mark.parametrize("method", ["findall", "fullmatch", "match", "search", "split"])
@pytest.mark.parametrize("subject", ["", "a.", "b.c.", "1"])
def test_each_method_answers_as_that_of_a_compiled_one(method: str, subject: str) -> None:
    late, compiled = (getattr(made, method)(subject) for made in (pattern(TEXT), re.compile(TEXT)))

    assert repr(late) == repr(compiled)


def test_places_flags_and_attributes_are_those_of_the_expression() -> None:
    late = pattern(TEXT, re.IGNORECASE)

    assert late.groupindex == {"name": 1}
    assert late.sub("x", "A.b.") == "xx"
    assert [match["name"] for match in late.finditer("a.B.c.", 2)] == ["B", "c"]


def test_a_mistake_is_raised_where_it_is_used() -> None:
    late = pattern("(")
    with pytest.raises(re.error):
        late.search("")
