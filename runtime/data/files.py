"""From files to records: what each file of a data set holds, whatever its format.

A record that cannot be read is passed on as a `RowFault`, so that one policy decides whether it stops the run.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaitoc.runtime.data.discover import GZIP, format_of
from kaitoc.runtime.failures import DataFailure

MAX_CELL_CHARACTERS = 10_000_000
_MAX_OBJECT_BYTES = 10_000_000
_BLANK = codecs.BOM_UTF8 + b" \t\r\n"
_SPACE, _COMMA = re.compile(r"\s*"), re.compile(r"\s*,?\s*")


@dataclass(frozen=True, slots=True)
class RowFault:
    """A record that cannot be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """A value as a file holds it, with its place as `file:line`."""

    origin: str
    value: Any


def records(path: Path, format_name: str | None = None) -> Iterator[Record]:
    """Yield the records of a file; raises `DataFailure` for a file that cannot be read at all."""
    readers = {
        "json": _json, "csv": _csv, "tsv": _csv, "text": _paragraphs, "parquet": _tables, "arrow": _tables,
    }  # fmt: skip
    reader = readers[format_of(path) or format_name or "text"]
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise DataFailure(f"{path}:{_first_bad_line(path)}: not UTF-8 text") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFailure(f"{path}: not a gzip file; is it cut off?") from error
    except OSError as error:
        raise DataFailure(f"{path}: cannot be read: {error.strerror or error}") from error


def _opened(path: Path) -> Any:
    """Open a file for its bytes, unpacked."""
    return gzip.open(path) if path.suffix.lower() == GZIP else path.open("rb")


def _read_text(path: Path) -> str:
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig") as stream:
        return stream.read()


def _first_bad_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8: a decoder tells a place in its buffer, not in the file."""
    with _opened(path) as stream:
        return next((number for number, line in enumerate(stream, start=1) if _decoded(line) is None), 1)


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _json(path: Path) -> Iterator[Record]:
    """Yield the elements of a list, or one value a line, whichever the file begins with."""
    with _opened(path) as stream:
        first = next((line for line in stream if line.strip(_BLANK)), b"").strip(_BLANK)
    if first.startswith(b"["):
        return _json_list(path)
    if _is_spread_object(path, first):
        fault = RowFault("one object over several lines; write a list of rows, or one row a line")
        return iter((Record(f"{path}:1", fault),))
    return _json_lines(path)


def _is_spread_object(path: Path, first_line: bytes) -> bool:
    """Return whether a file is one object over several lines, which has no rows; a very long one is not told apart."""
    if not isinstance(parsed_json(_decoded(first_line) or ""), RowFault):
        return False
    with _opened(path) as stream:
        text = _decoded(stream.read(_MAX_OBJECT_BYTES).removeprefix(codecs.BOM_UTF8))
    return text is not None and isinstance(parsed_json(text), dict)


def _json_lines(path: Path) -> Iterator[Record]:
    """Yield one value a line; lines are decoded one by one, so that one that is not text is a row like any other."""
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip(_BLANK):
                text = _decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
                yield Record(f"{path}:{number}", RowFault("not UTF-8 text") if text is None else parsed_json(text))


def _json_list(path: Path) -> Iterator[Record]:
    """Yield the elements of a list one by one, so that each has its line and a cut file names the last one."""
    text = _read_text(path)
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    line = 1 + text.count("\n", 0, position)
    separator = _SPACE
    while True:
        start = _end_of(separator, text, position)
        line += text.count("\n", position, start)
        if text[start : start + 1] == "]":
            if text[start + 1 :].strip():
                yield Record(f"{path}:{line}", RowFault("not JSON (extra data after the end of the list)"))
            return
        try:
            if separator is _COMMA and "," not in text[position:start]:
                raise ValueError("Expecting ',' delimiter")
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            yield Record(f"{path}:{line}", _not_json(error))
            return
        yield Record(f"{path}:{line}", value)
        line += text.count("\n", start, position)
        separator = _COMMA


def _end_of(separator: re.Pattern[str], text: str, position: int) -> int:
    """Find the end of a separator that may be empty."""
    matched = separator.match(text, position)
    return matched.end() if matched is not None else position


def parsed_json(text: str) -> Any:
    """Return the value of a JSON text, or the `RowFault` that it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return _not_json(error)


def _not_json(error: Exception) -> RowFault:
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return RowFault(f"not JSON ({reason}); is the file cut off?")


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    kind = (format_of(path) or "csv").upper()
    delimiter = "\t" if kind == "TSV" else ","
    with io.TextIOWrapper(_opened(path), encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True, delimiter=delimiter)
        try:
            for row in reader:
                is_whole = None not in row and None not in row.values()
                fault = RowFault(f"a row of other than {len(reader.fieldnames or ())} cells; is the file cut off?")
                yield Record(f"{path}:{reader.line_num}", dict(row) if is_whole else fault)
        except csv.Error as error:
            # The number is that of the last row that could be read.
            yield Record(f"{path}:{reader.line_num + 1}", RowFault(f"not {kind} ({error}); is the file cut off?"))


def _paragraphs(path: Path) -> Iterator[Record]:
    """Yield the parts of a text between empty lines."""
    text = _read_text(path)
    line = 1
    for part in re.split(r"(\n\s*\n)", text):
        if part.strip():
            yield Record(f"{path}:{line}", {"text": part.strip()})
        line += part.count("\n")


def _tables(path: Path) -> Iterator[Record]:
    """Yield the rows of a Parquet file or an Arrow file or stream; neither format can hold code."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in _batches(path):
            for value in batch.to_pylist():
                number += 1
                yield Record(f"{path}, row {number}", value)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFailure(f"{path}: not a {path.suffix[1:]} file; is it cut off? ({type(error).__name__})") from error


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    if path.suffix.lower() == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as table:
            yield from table.iter_batches()
        return
    with pyarrow.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        if is_file:
            reader = pyarrow.ipc.open_file(source)
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
        else:
            yield from pyarrow.ipc.open_stream(source)
