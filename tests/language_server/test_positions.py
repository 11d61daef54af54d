from __future__ import annotations

import pytest

pytest.importorskip("lsprotocol")

from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from kaitoc.compiler.core.source import Source
from kaitoc.compiler.language_server.cursor import cursor_at
from kaitoc.compiler.language_server.positions import PositionMap, source_of_text

TEXTS = st.text(st.sampled_from("ab :-#\n\r\té€😀𐍈\u2028\x0c"), max_size=60)
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-32"])


@given(text=TEXTS, encoding=ENCODINGS, has_bom=st.booleans(), data=st.data())
def test_an_offset_comes_back_from_its_position(text: str, encoding: str, has_bom: bool, data: st.DataObject) -> None:
    positions = PositionMap(Source("a.yaml", text, has_bom), encoding)
    offset = data.draw(st.integers(0, len(text)))
    inside_break = text[offset - 1 : offset + 1] == "\r\n"

    assert positions.offset(positions.position(offset)) == (offset - 1 if inside_break else offset)


@given(text=TEXTS, encoding=ENCODINGS, line=st.integers(0, 70), character=st.integers(0, 200))
def test_any_position_is_in_the_text(text: str, encoding: str, line: int, character: int) -> None:
    offset = PositionMap(Source("a.yaml", text), encoding).offset(types.Position(line, character))

    assert 0 <= offset <= len(text)


def test_a_character_beyond_the_basic_plane_counts_twice_in_utf_16() -> None:
    positions = PositionMap(Source("a.yaml", "a: 😀x"))

    assert positions.position(5) == types.Position(0, 6)
    assert positions.offset(types.Position(0, 6)) == 5


def test_a_position_inside_a_character_is_that_of_the_character() -> None:
    assert PositionMap(Source("a.yaml", "😀x")).offset(types.Position(0, 1)) == 0


def test_a_byte_order_mark_takes_a_column_of_the_first_line() -> None:
    positions = PositionMap(source_of_text("a.yaml", "\ufeffab\ncd"))

    assert positions.position(1) == types.Position(0, 2)
    assert positions.position(3) == types.Position(1, 0)


def test_half_a_surrogate_pair_becomes_one_unit_that_files_can_hold() -> None:
    source = source_of_text("a.yaml", "a: \ud83d b")

    assert source.text == "a: \ufffd b"
    assert PositionMap(source).position(5) == types.Position(0, 5)


@given(text=TEXTS, data=st.data())
def test_the_cursor_is_found_in_any_text(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    cursor = cursor_at(Source("a.yaml", text), offset)

    assert cursor is None or cursor.span.start <= offset <= cursor.span.end
