"""How long the rows of a data set are, without a tokenizer: an upper bound from the bytes of their text.

Byte-level tokenizers never make more tokens than there are bytes, and English text has about four bytes a token; the
longest row's bytes over `BYTES_PER_TOKEN` is a cautious guess, which the runtime replaces by real counts.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from kaitoc.compiler.core.errors import KaitocError

BYTES_PER_TOKEN = 3
MOST_FIELD_CHARACTERS = 1 << 30
_TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".txt")
_TABLE_SUFFIXES = (".parquet", ".arrow")
_ANSWERS = frozenset({"chosen", "rejected"})


class DataLengthError(KaitocError, ValueError):
    """Data that cannot be measured; `str(error)` is for the user."""


def row_tokens(path: str) -> list[int]:
    """Return a cautious guess of every row's length in tokens, empty rows left out; raises `DataLengthError`."""
    tokens = [-(-length // BYTES_PER_TOKEN) for file in _files(path) for length in _lengths(file) if length]
    if not tokens:
        where = f" in {', '.join(_TEXT_SUFFIXES + _TABLE_SUFFIXES)} files" if os.path.isdir(path) else ""
        raise DataLengthError(f"{path}: no rows with text{where}")
    return tokens


def _files(path: str) -> list[str]:
    known = _TEXT_SUFFIXES + _TABLE_SUFFIXES
    if os.path.isdir(path):
        names = (os.path.join(path, name) for name in sorted(os.listdir(path)))
        return [name for name in names if name.endswith(known) and os.path.isfile(name)]
    if not path.endswith(known):
        raise DataLengthError(f"{path}: only {', '.join(known)} data can be measured")
    return [path]


def _lengths(path: str) -> Iterator[int]:
    """Return the bytes of text of each row of a file."""
    if path.endswith(_TABLE_SUFFIXES):
        return _table_lengths(path)
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            if path.endswith(".json"):
                return iter(_document_lengths(stream.read()))
            lines = stream.readlines()
    except OSError as error:
        raise DataLengthError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataLengthError(f"{path}: cannot be read: {error}") from error
    if path.endswith(".csv"):
        return _csv_lengths(path, lines)
    return _json_line_lengths(path, lines) if path.endswith(".jsonl") else map(_text_length, filter(str.strip, lines))


def _document_lengths(text: str) -> list[int]:
    """Return the lengths of a JSON list's rows, or of one row a line, as which many data sets are named `.json`."""
    try:
        content = json.loads(text)
    except ValueError:
        return [_text_length(json.loads(line)) for line in text.splitlines() if line.strip()]
    return [_text_length(row) for row in content] if isinstance(content, list) else [_text_length(content)]


def _json_line_lengths(path: str, lines: list[str]) -> Iterator[int]:
    """Yield the lengths of JSON Lines; `datasets` loads no file in which a line is anything but an object."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise DataLengthError(f"{path}: line {number:,} is not a JSON object")
        yield _text_length(row)


def _csv_lengths(path: str, lines: list[str]) -> Iterator[int]:
    csv.field_size_limit(MOST_FIELD_CHARACTERS)
    try:
        rows = list(csv.reader(lines))
    except csv.Error as error:
        raise DataLengthError(f"{path}: cannot be read: {error}") from error
    return map(_text_length, rows[1:])


def _table_lengths(path: str) -> Iterator[int]:
    """Return the lengths of a Parquet or Arrow file's rows, batch by batch."""
    if find_spec("pyarrow") is None:
        raise DataLengthError(f'{path}: Parquet and Arrow files need `pip install "kaitoc[runtime]"`')
    import pyarrow

    try:
        for batch in _table_batches(path):
            yield from map(_text_length, batch.to_pylist())
    except (OSError, pyarrow.ArrowException) as error:
        raise DataLengthError(f"{path}: cannot be read: {error}") from error


def _table_batches(path: str) -> Iterator[Any]:
    from pyarrow import ipc, memory_map, parquet

    if path.endswith(".parquet"):
        yield from parquet.ParquetFile(path).iter_batches()
        return
    with memory_map(path) as source:
        try:
            reader = ipc.open_file(source)
        except ValueError:
            yield from ipc.open_stream(source)
            return
        yield from (reader.get_batch(index) for index in range(reader.num_record_batches))


def _text_length(value: object) -> int:
    """Return the bytes of all text in a value: that of its strings, not of the names of its columns."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        if value.keys() >= _ANSWERS:  # each is a sequence of its own, behind the same prompt
            value = {**value, "chosen": max((value[name] for name in _ANSWERS), key=_text_length), "rejected": None}
        return sum(_text_length(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_text_length(item) for item in value)
    return 0
