"""The text report: excerpts, carets, color and what it refuses to show."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.escape import printable
from kaitoc.compiler.core.findings import Finding, Severity
from kaitoc.compiler.core.source import Source, Span
from kaitoc.compiler.report import render
from kaitoc.compiler.report.excerpt import MAX_EXCERPT_COLUMNS, excerpt
from kaitoc.compiler.report.model import Report
from kaitoc.compiler.report.style import wants_color

TERMINAL_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def carets(text: str, start: int, end: int) -> tuple[str, str]:
    """Return the marked line of an excerpt without context, and its mark."""
    (line,) = excerpt(Source("f.yaml", text), Span(start, end), num_context=0)
    return line.text, line.mark


def test_carets_lie_below_the_span() -> None:
    assert carets("key: value", 5, 10) == ("key: value", "     ^^^^^")


def test_a_tab_is_shown_as_spaces_to_the_next_stop_and_counted_so() -> None:
    assert carets("a\tbc", 2, 4) == ("a   bc", "    ^^")


def test_a_wide_character_takes_two_columns() -> None:
    assert carets("速い: x", 4, 5) == ("速い: x", "      ^")


def test_a_combining_mark_takes_no_column() -> None:
    assert carets("e\u0301: x", 4, 5) == ("e\u0301: x", "   ^")


def test_an_empty_span_gets_one_caret() -> None:
    assert carets("key:", 4, 4) == ("key:", "    ^")


def test_a_span_over_several_lines_is_marked_to_the_end_of_its_first() -> None:
    assert carets("a: b\nc: d\n", 3, 9) == ("a: b", "   ^")


def test_a_span_at_the_end_of_a_crlf_line_stays_on_the_line() -> None:
    assert carets("key\r\nb\r\n", 3, 5) == ("key", "   ^")


def test_a_very_long_line_is_cut_around_the_span() -> None:
    text = "x" * 10_000 + "HERE" + "x" * 10_000
    shown, mark = carets(text, 10_000, 10_004)

    assert len(shown) == MAX_EXCERPT_COLUMNS + 2
    assert shown[mark.index("^") :].startswith("HERE")
    assert mark.count("^") == 4


def test_blank_context_lines_are_left_out() -> None:
    lines = excerpt(Source("f.yaml", "\nkey: 1\n\n"), Span(1, 4))

    assert [line.number for line in lines] == [2]


@given(st.text(), st.data())
def test_every_span_of_every_text_can_be_shown(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    source = Source("f.yaml", text)

    lines = excerpt(source, Span(start, end))

    assert [line.number for line in lines if line.mark] == [source.position(start).line]


@given(st.text(st.characters(min_codepoint=0, max_codepoint=0x206F)))
def test_printable_text_keeps_its_length_and_loses_its_controls(text: str) -> None:
    shown = printable(text)

    assert len(shown) == len(text)
    assert not TERMINAL_CONTROL.search(shown)
    assert "\n" not in shown


@pytest.mark.parametrize("format_name", ["text", "concise", "github", "markdown"])
def test_no_manifest_steers_the_terminal(format_name: str, hostile_report: Report) -> None:
    assert not TERMINAL_CONTROL.search(render(hostile_report, format_name))


@given(st.text(), st.text())
def test_no_text_steers_the_terminal(message: str, text: str) -> None:
    finding = Finding("KT101", "syntax", Severity.ERROR, message, Source("f.yaml", text), Span(0, len(text)))

    assert not TERMINAL_CONTROL.search(render(Report((finding,)), "text"))


def test_color_is_only_paint(full_report: Report) -> None:
    painted = render(full_report, "text", color=True)

    assert re.sub("\x1b\\[[0-9;]*m", "", painted) == render(full_report, "text")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_color_follows_terminal_and_environment(
    stream: io.StringIO, environment: dict[str, str], expected: bool
) -> None:
    assert wants_color(stream, environment) is expected
