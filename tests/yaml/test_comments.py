"""Where quoted scalars are, in which a `#` starts no comment."""

from __future__ import annotations

import pytest

from kaitoc.compiler.yaml.comments import quoted_spans


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a: \"x # y\"\nb: 'z'\n", ['"x # y"', "'z'"]),
        ("a: |\n  b: 'x'\n  c: \"y\"\nd: 'z'\n", ["'x'", '"y"', "'z'"]),
        ("a: >\n  b: 'x'\n", ["'x'"]),
        ("a: |\n  b: |\n    c: 'a text in a text'\n", []),
        ("a: plain 'x'\n", []),
        ("a: 'x'\n\tb: 'not YAML any more'\n", ["'x'"]),
    ],
)
def test_quoted_scalars_are_found_also_one_text_deeper(text: str, quoted: list[str]) -> None:
    assert [text[start:end] for start, end in quoted_spans(text, len(text))] == quoted


def test_those_behind_the_end_are_left_out() -> None:
    text = "a: 'x'\nb: 'y'\n"

    assert [text[start:end] for start, end in quoted_spans(text, text.index("'y'"))] == ["'x'"]
