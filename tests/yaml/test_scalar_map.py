"""Places in an inner text as places in the file, and texts as they are written there."""

from __future__ import annotations

import pytest
import yaml

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.yaml.parser import parse_documents
from kaitoc.compiler.yaml.scalar_map import ScalarMap, map_scalar
from kaitoc.compiler.yaml.tree import Mapping, Scalar


def mapped(text: str) -> tuple[Source, ScalarMap]:
    """Return a source with a mapping of one key, and the map of its value."""
    source = Source("a.yaml", text)
    root = parse_documents(source)[0].root
    assert isinstance(root, Mapping)
    value = root.entries[0].value
    assert isinstance(value, Scalar)
    return source, map_scalar(source, value)


def test_an_empty_range_is_an_empty_span_at_its_place() -> None:
    source, scalar_map = mapped("a: |\n  one\n  two\n")

    span = scalar_map.span(4, 4)

    assert span.start == span.end == source.text.index("two")


@pytest.mark.parametrize("text", ["a: |\n\n  one: 1\n  two: 2\n", "a: |\n  one: 1\n  two: 2\n"])
def test_a_column_counts_from_the_start_of_its_line(text: str) -> None:
    source, scalar_map = mapped(text)

    assert [scalar_map.column(source.text.index(word)) for word in ("one", "1", "two", "2")] == [0, 5, 0, 5]


@pytest.mark.parametrize("text", ["first\nsecond", "it's\nso"])
@pytest.mark.parametrize("outer", ['"x"', "'x'", "|\n  x\n"], ids=["double", "single", "literal"])
def test_a_text_of_several_lines_reads_back_in_its_style(outer: str, text: str) -> None:
    source, scalar_map = mapped(f"a: {outer}\n")
    start = source.text.index("x")

    written = source.text[:start] + scalar_map.encode(text) + source.text[start + 1 :]

    assert yaml.safe_load(written)["a"].rstrip("\n") == text
