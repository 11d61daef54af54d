"""Whether files that are to be trained on hold any row, without reading more of them than tells."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from kaitoc.runtime.data.discover import GZIP, data_files, format_of
from kaitoc.runtime.failures import DataFailure

_WITH_HEADER = ("csv", "tsv")
_TABLES = ("parquet", "arrow")
_MOST_BYTES = 1 << 20
"""A file that is blank up to here is not taken for empty."""


def require_rows(path: str, format_name: str | None = None) -> None:
    """Raise `DataFailure` for a file or folder without data files, or whose files are all empty."""
    files = data_files((path,), format_name)
    if not any(_may_have_rows(file, format_name or format_of(file)) for file in files):
        raise DataFailure(f"{path}: there are no rows")


def _may_have_rows(file: Path, format_name: str | None) -> bool:
    if format_name in _TABLES:
        return file.stat().st_size > 0
    try:
        start = _start_of(file)
    except (OSError, EOFError) as error:
        raise DataFailure(f"{file}: cannot be read: {error}") from error
    if format_name == "json" and start.strip() == b"[]":
        return False
    wanted = 2 if format_name in _WITH_HEADER else 1
    return len(start) == _MOST_BYTES or sum(1 for _ in _lines_with_text(start)) >= wanted


def _start_of(file: Path) -> bytes:
    with gzip.open(file) if file.suffix.lower() == GZIP else file.open("rb") as stream:
        return stream.read(_MOST_BYTES)


def _lines_with_text(text: bytes) -> Iterator[bytes]:
    return filter(bytes.strip, text.splitlines())
