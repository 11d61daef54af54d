"""Training data as rows, in the shapes that Kaito's users have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard

from kaitoc.runtime.data.files import RowFault, data_files, parsed_json, records
from kaitoc.runtime.failures import DataFailure

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One training example; `origin` says where it came from.

    It is plain `text`, or a `prompt` with its `completion`, or `messages`, of which the first `num_prompt_messages`
    are a prompt.
    """

    origin: str
    text: str = ""
    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    num_prompt_messages: int = 0


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


def read_rows(
    paths: tuple[str, ...], columns: Columns, *, data_format: str | None = None, skip_bad_rows: bool = False
) -> Rows:
    """Read every row of files and folders; raises `DataFailure` that names file and line of the first bad row.

    With `skip_bad_rows` bad rows are counted and left out.
    """
    rows: list[Row] = []
    skipped: list[str] = []
    for path in data_files(paths, data_format):
        for record in records(path, data_format):
            try:
                rows.append(_row(record.origin, record.value, columns))
            except DataFailure as error:
                if not skip_bad_rows:
                    raise
                skipped.append(str(error))
    if not rows:
        reason = f"all {len(skipped)} rows are malformed, the first: {skipped[0]}" if skipped else "there are no rows"
        raise DataFailure(f"{', '.join(paths)}: {reason}")
    return Rows(tuple(rows), tuple(skipped))


def describe_skipped(rows: Rows) -> str:
    """Return how many rows were skipped and why the first was, to be put behind a summary; "" when none was."""
    return f"; {len(rows.skipped)} rows skipped, the first: {rows.skipped[0]}" if rows.skipped else ""


def _row(origin: str, value: Any, columns: Columns) -> Row:
    """Return a record as a row: messages, conversations, prompt and completion, or text."""
    if isinstance(value, RowFault):
        raise DataFailure(f"{origin}: {value.reason}")
    if not isinstance(value, dict):
        raise DataFailure(f"{origin}: a row is a mapping, not {type(value).__name__}")
    record = _named(value, columns)
    for name in ("messages", "conversations"):
        if record.get(name) is not None:
            return Row(origin, messages=_answered(origin, _messages(origin, record[name])))
    if record.get("prompt") is not None and record.get("completion") is not None:
        return _prompt_and_completion(origin, record["prompt"], record["completion"])
    if record.get("text") is not None:
        return Row(origin, text=_text(origin, record["text"], "text"))
    wanted = ", ".join(f"`{name}`" for name in _stated(columns).values())
    expected = wanted or "messages, conversations, prompt and completion, or text"
    raise DataFailure(f"{origin}: expected {expected}; it has {', '.join(str(key) for key in value) or 'nothing'}")


def _named(record: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return a record with the columns that the plan names under their usual names, and those alone."""
    stated = _stated(columns)
    return {name: record.get(column) for name, column in stated.items()} if stated else record


def _stated(columns: Columns) -> dict[str, str]:
    mapping = (
        ("text", columns.text),
        ("prompt", columns.prompt),
        ("completion", columns.completion),
        ("messages", columns.messages),
    )
    return {name: column for name, column in mapping if column is not None}


def _prompt_and_completion(origin: str, prompt: Any, completion: Any) -> Row:
    if isinstance(prompt, list) and isinstance(completion, list):
        asked, answered = _messages(origin, prompt), _messages(origin, completion)
        return Row(origin, messages=_answered(origin, asked + answered), num_prompt_messages=len(asked))
    if not _is_text(prompt):
        raise DataFailure(f"{origin}: `prompt` is not a text")
    return Row(origin, prompt=prompt, completion=_text(origin, completion, "completion"))


def _messages(origin: str, turns: Any) -> tuple[Message, ...]:
    if isinstance(turns, str):
        turns = parsed_json(turns)
        if isinstance(turns, RowFault):
            raise DataFailure(f"{origin}: {turns.reason}")
    if not isinstance(turns, list) or not turns:
        raise DataFailure(f"{origin}: a conversation is a list of turns that is not empty")
    return tuple(_message(origin, turn) for turn in turns)


def _message(origin: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise DataFailure(f"{origin}: a turn is a mapping with `role` and `content`")
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if not _is_text(role) or not _is_text(content):
        raise DataFailure(f"{origin}: a turn needs a text for `role` and for `content`")
    return Message(_ROLES.get(role, role), content)


def _answered(origin: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if not any(message.role == "assistant" for message in messages):
        raise DataFailure(f"{origin}: no turn of the assistant, so there is nothing to learn")
    return messages


def _text(origin: str, value: Any, column: str) -> str:
    if not _is_text(value) or not value.strip():
        raise DataFailure(f"{origin}: `{column}` is not a text")
    return value


def _is_text(value: Any) -> TypeGuard[str]:
    """Return whether a value is text that can be encoded: JSON can escape half of a character, which is none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
