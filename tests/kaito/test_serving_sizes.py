"""Sizes as text, in a value that is JSON or where kaitoc reads one itself: decimal and binary suffixes as vLLM's."""

from __future__ import annotations

import pytest

from kaitoc.compiler.kaito.vllm_values import size_of_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8k", 8_000),
        ("1.5k", 1_500),
        (" 80g ", 80_000_000_000),
        ("8K", 8_192),
        ("2M", 2 << 20),
        ("1.5K", None),
        ("8", None),
        ("auto", None),
    ],
)
def test_a_text_is_the_size_that_its_suffix_says(text: str, size: int | None) -> None:
    assert size_of_text(text) == size
