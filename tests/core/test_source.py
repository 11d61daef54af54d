"""Text, lines and columns; reading and writing files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaitoc.compiler.core.source import MAX_SOURCE_BYTES, Source, SourceError, Span, write_atomically


@given(st.text(alphabet="ab\n\ré😀\x0b\u2028"))
def test_an_offset_survives_the_way_through_line_and_column(text: str) -> None:
    source = Source("x", text)

    for offset in range(len(text) + 1):
        position = source.position(offset)
        assert source.line_starts[position.line - 1] + position.column - 1 == offset


def test_columns_count_characters_not_bytes() -> None:
    assert Source("x", "é😀b: 1\n").position(2) == (1, 3, 2)


def test_a_byte_order_mark_is_kept_apart_and_written_back() -> None:
    source = Source.decode("x", b"\xef\xbb\xbfa: 1\n")

    assert source.text == "a: 1\n"
    assert source.encode("a: 2\n") == b"\xef\xbb\xbfa: 2\n"


def test_crlf_ends_one_line() -> None:
    source = Source("x", "a\r\nb\r\n")

    assert source.line_text(2) == "b"
    assert source.newline == "\r\n"
    assert source.slice(source.line_span(1)) == "a\r\n"


@pytest.mark.parametrize("text", ["a\nb\r\n", "\na\r", "a", ""])
def test_new_lines_are_broken_as_the_first_is_and_else_by_lf(text: str) -> None:
    assert Source("x", text).newline == "\n"


def test_bytes_that_are_not_utf8_name_their_line() -> None:
    with pytest.raises(SourceError, match=r"^x\.yaml:2: not UTF-8"):
        Source.decode("x.yaml", b"a: 1\nb: \xff\n")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(50_000_000)

    with pytest.raises(SourceError, match=f"larger than {MAX_SOURCE_BYTES // 1_000_000} MB"):
        Source.read(str(path))


def test_more_bytes_than_a_file_may_have_are_refused() -> None:
    with pytest.raises(SourceError, match="x: larger than 5 MB; no Kubernetes object is that large"):
        Source.decode("x", b" " * 5_000_001)
    assert len(Source.decode("x", b" " * 5_000_000).text) == 5_000_000


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        Source.read(str(tmp_path / "none.yaml"))


def test_an_atomic_write_keeps_the_mode_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("old")
    path.chmod(0o640)

    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_a_write_into_a_folder_that_is_not_there_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.yaml"

    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(path, b"new")

    assert caught.value.filename == str(path)


def test_spans_nest() -> None:
    assert Span(1, 5).covers(Span(2, 5))
    assert not Span(1, 5).covers(Span(0, 2))
