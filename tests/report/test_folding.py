"""Long lines on a terminal: broken between words, under what they continue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.folding import MIN_COLUMNS, folded, visible_length, wrapped
from kaitoc.compiler.report.listing import listing

WORDS = st.lists(st.text("abc`_-", min_size=1, max_size=30), min_size=1, max_size=40)


@given(WORDS, st.integers(MIN_COLUMNS, 120))
def test_no_word_is_broken_or_lost_and_no_line_of_several_is_too_long(words: list[str], columns: int) -> None:
    text = folded(" ".join(words), columns)
    assert text.split() == words
    for line in text.split("\n"):
        assert len(line) <= columns or len(line.split()) == 1


@given(WORDS)
def test_a_pipe_gets_lines_as_they_are(words: list[str]) -> None:
    assert folded(" ".join(words), None) == " ".join(words)


def test_colors_take_no_room() -> None:
    assert folded("\x1b[1;31merror\x1b[0m: twelve chars", 24) == "\x1b[1;31merror\x1b[0m: twelve chars"
    assert visible_length("\x1b[1;31merror\x1b[0m") == 5


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("   = help: write `a` and `b` at once", "   = help: write `a` and\n     `b` at once"),
        ("  hint   it also fits a smaller GPU", "  hint   it also fits a\n         smaller GPU"),
        ("demo.yaml: tuning needs 3.5 GiB: fits", "demo.yaml: tuning needs\n    3.5 GiB: fits"),
        ("  folder/demo.yaml:21  seed: 1 -> 2", "  folder/demo.yaml:21\n          seed: 1 -> 2"),
    ],
)
def test_a_line_goes_on_below_what_it_continues(line: str, expected: str) -> None:
    assert folded(line, 24) == expected


@pytest.mark.parametrize("line", ["20 |  target_modules: [q_proj, k_proj]", "   |          ^^^^^^^^^^^^^ ^^^^^^^"])
def test_source_and_its_carets_stay_aligned(line: str) -> None:
    assert folded(line, 24) == line


def test_a_first_line_may_begin_with_spaces() -> None:
    assert wrapped("  finds: a key", 10, indent=4) == ["  finds: a", "    key"]


HEADINGS = ("NAME", "SIZE", "FINDS")
ROWS = [("phi-4", "14 B", "a key that no section of the release has"), ("falcon-7b", "7 B", "nothing")]


@pytest.mark.parametrize("columns", [None, 60])
def test_a_table_that_fits_stays_a_table(columns: int | None) -> None:
    assert listing(HEADINGS, ROWS, columns).split("\n")[0].split() == ["NAME", "SIZE", "FINDS"]


def test_a_table_that_does_not_fit_a_narrow_terminal_is_a_list() -> None:
    text = listing(HEADINGS, ROWS, 40)
    assert text.split("\n\n")[1].split("\n") == ["falcon-7b", "  size: 7 B", "  finds: nothing"]
    assert max(map(len, text.split("\n"))) <= 40


def test_a_wide_terminal_breaks_the_last_column() -> None:
    rows = [("KT101", "error", "words " * 30), ("KT102", "info", "few words")]
    lines = listing(HEADINGS, rows, 100).split("\n")
    assert max(map(len, lines)) <= 100
    assert lines[2].startswith(" " * 14 + "words")
