"""Training data as rows: from files and folders, in the formats and shapes that Kaito's users have."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaitoc.runtime.failures import DataFailure

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".txt")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One training example: a conversation, or plain text; `origin` says where it came from."""

    origin: str
    messages: tuple[Message, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a data set and the messages about those that were skipped."""

    rows: tuple[Row, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what; None means the usual names."""

    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None


def read_rows(paths: tuple[str, ...], columns: Columns, *, skip_bad_rows: bool = False) -> Rows:
    """Read every row of files and folders; raises `DataFailure` that names file and line of the first bad row.

    With `skip_bad_rows` bad rows are counted and left out.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    for path in data_files(paths):
        for origin, value in _values(path):
            try:
                rows.append(_row(origin, _named(value, columns)))
            except DataFailure as error:
                if not skip_bad_rows:
                    raise
                skipped.append(str(error))
    if not rows:
        where = ", ".join(paths)
        reason = f"all {len(skipped)} rows are malformed, the first: {skipped[0]}" if skipped else "there are no rows"
        raise DataFailure(f"{where}: {reason}")
    return Rows(tuple(rows), tuple(skipped))


def data_files(paths: tuple[str, ...]) -> list[Path]:
    """Return the data files that paths name, folders searched; raises `DataFailure` when there are none."""
    found: list[Path] = []
    for name in paths:
        if "://" in name:
            raise DataFailure(f"{name}: download it first, and name the file with --data")
        path = Path(name)
        if not path.exists():
            raise DataFailure(f"{name}: no such file or folder; name the training data with --data")
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            raise DataFailure(f"{name}: data files end in {', '.join(SUFFIXES)}")
    if not found:
        raise DataFailure(f"{', '.join(paths)}: no data file in it; data files end in {', '.join(SUFFIXES)}")
    return found


def _values(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every record of a file with its place."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            yield from _json_lines(path)
        elif suffix == ".json":
            yield from _json_array(path)
        elif suffix == ".csv":
            yield from _csv_rows(path)
        elif suffix == ".txt":
            yield from _paragraphs(path)
        else:
            yield from _tables(path)
    except UnicodeDecodeError as error:
        raise DataFailure(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataFailure(f"{path}: cannot be read: {error.strerror or error}") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield f"{path}:{number}", _parse_json(f"{path}:{number}", line)


def _json_array(path: Path) -> Iterator[tuple[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("{") and "\n{" in text.strip():
        yield from _json_lines(path)
        return
    content = _parse_json(str(path), text)
    if not isinstance(content, list):
        raise DataFailure(f"{path}: a .json file holds a list of rows; for one row a line use .jsonl")
    for index, value in enumerate(content):
        yield f"{path}[{index}]", value


def _parse_json(origin: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataFailure(f"{origin}: not JSON ({error}); is the file cut off?") from error


def _csv_rows(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        try:
            for record in reader:
                yield f"{path}:{reader.line_num}", record
        except csv.Error as error:
            raise DataFailure(f"{path}:{reader.line_num}: not CSV ({error})") from error


def _paragraphs(path: Path) -> Iterator[tuple[str, Any]]:
    for index, text in enumerate(path.read_text(encoding="utf-8-sig").split("\n\n")):
        if text.strip():
            yield f"{path}, paragraph {index + 1}", {"text": text.strip()}


def _tables(path: Path) -> Iterator[tuple[str, Any]]:
    import datasets

    try:
        if path.suffix.lower() == ".parquet":
            table = datasets.Dataset.from_parquet(str(path), keep_in_memory=True)
        else:
            table = datasets.Dataset.from_file(str(path))
    except Exception as error:
        raise DataFailure(f"{path}: not a {path.suffix[1:]} file ({type(error).__name__}); is it cut off?") from error
    for index, record in enumerate(table):
        yield f"{path}, row {index + 1}", record


def _named(value: Any, columns: Columns) -> Any:
    """Return a record with the columns that the plan names under their usual names."""
    if not isinstance(value, dict):
        return value
    named = {
        "text": columns.text,
        "prompt": columns.prompt,
        "completion": columns.completion,
        "messages": columns.messages,
    }
    stated = {name: value.get(column) for name, column in named.items() if column is not None}
    return {**({} if stated else value), **stated}


def _row(origin: str, value: Any) -> Row:
    """Return a record as a row: messages, conversations, prompt and completion, or text."""
    if not isinstance(value, dict):
        raise DataFailure(f"{origin}: a row is a mapping, not {type(value).__name__}")
    if value.get("messages") is not None:
        return Row(origin, _messages(origin, value["messages"], "role", "content"))
    if value.get("conversations") is not None:
        return Row(origin, _messages(origin, value["conversations"], "from", "value"))
    if value.get("prompt") is not None and value.get("completion") is not None:
        turns = (Message("user", _text(origin, value["prompt"], "prompt")),
                 Message("assistant", _text(origin, value["completion"], "completion")))  # fmt: skip
        return Row(origin, turns)
    if value.get("text") is not None:
        return Row(origin, text=_text(origin, value["text"], "text"))
    columns = ", ".join(str(key) for key in value) or "none"
    raise DataFailure(
        f"{origin}: no known columns (messages, conversations, prompt and completion, or text); it has {columns}"
    )


def _messages(origin: str, turns: Any, role_key: str, text_key: str) -> tuple[Message, ...]:
    if isinstance(turns, str):
        turns = _parse_json(origin, turns)
    if not isinstance(turns, list) or not turns:
        raise DataFailure(f"{origin}: a conversation is a list of turns that is not empty")
    found = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise DataFailure(f"{origin}: a turn is a mapping with `role` and `content`")
        role = turn.get("role", turn.get(role_key))
        content = turn.get("content", turn.get(text_key))
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataFailure(f"{origin}: a turn needs a text for `role` and for `content`")
        found.append(Message(_ROLES.get(role, role), content))
    if not any(message.role == "assistant" for message in found):
        raise DataFailure(f"{origin}: no turn of the assistant, so there is nothing to learn")
    return tuple(found)


def _text(origin: str, value: Any, column: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataFailure(f"{origin}: `{column}` is not a text")
    return value
