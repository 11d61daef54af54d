"""Training data as rows, in the shapes that Kaito's users have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kaitoc.runtime.data.discover import data_files, other_splits
from kaitoc.runtime.data.files import RowFault, records
from kaitoc.runtime.data.messages import (
    Message,
    is_text,
    parse_messages,
    parse_template_values,
    parse_tools,
    require_text_only,
    text_fault,
)
from kaitoc.runtime.failures import DataFailure

_ALPACA = "Below is an instruction that describes a task{}. Write a response that appropriately completes the request."
_BESIDE_MESSAGES = ("system", "tools", "chat_template_kwargs", "image", "images", "video", "videos", "audio", "audios")
"""Columns that belong to a row's conversation, whatever the columns are that the plan names."""

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Row:
    """One training example; `origin` says where it came from.

    It is plain `text`, or a `prompt` with its `completion`, or `messages`, of which the first `num_prompt_messages`
    are a prompt. An instruction has both the conversation and the prompt that a tokenizer without chat template is
    given. `tools` and `template_values` go to the chat template.
    """

    origin: str
    text: str = ""
    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    num_prompt_messages: int = 0
    tools: tuple[Any, ...] = ()
    template_values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows(Generic[_Parsed]):
    """The rows of a data set and the messages about those that were skipped."""

    rows: tuple[_Parsed, ...]
    skipped: tuple[str, ...]
    other_splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what; None means the usual names."""

    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: str | None = None


def read_rows(
    paths: tuple[str, ...], columns: Columns, *, data_format: str | None = None, skip_bad_rows: bool = False
) -> Rows[Row]:
    """Read every row of files and folders; raises `DataFailure` that names file and line of the first bad row.

    With `skip_bad_rows` bad rows are counted and left out.
    """

    def parse(origin: str, value: Any) -> Row:
        return _row(origin, value, columns)

    return read_each(paths, parse, data_format=data_format, skip_bad_rows=skip_bad_rows)


def read_each(
    paths: tuple[str, ...], parse: Callable[[str, Any], _Parsed], *, data_format: str | None, skip_bad_rows: bool
) -> Rows[_Parsed]:
    """Apply a function to every row's origin and value.

    Raises the first `DataFailure` of the function, unless bad rows are skipped, and one where no row is left.
    """
    rows: list[_Parsed] = []
    skipped: list[str] = []
    for path in data_files(paths, data_format):
        for record in records(path, data_format):
            try:
                rows.append(parse(record.origin, record.value))
            except DataFailure as error:
                if not skip_bad_rows:
                    raise
                skipped.append(str(error))
    if not rows:
        reason = f"all {len(skipped)} rows are malformed, the first: {skipped[0]}" if skipped else "there are no rows"
        raise DataFailure(f"{', '.join(paths)}: {reason}")
    return Rows(tuple(rows), tuple(skipped), tuple(other_splits(paths)))


def describe_skipped(rows: Rows[Any]) -> str:
    """Describe what was not read, to end a summary: skipped rows and splits other than `train`."""
    text = f"; {len(rows.skipped)} rows skipped, the first: {rows.skipped[0]}" if rows.skipped else ""
    return text + (f"; not trained on: {', '.join(rows.other_splits)}" if rows.other_splits else "")


def _row(origin: str, value: Any, columns: Columns) -> Row:
    """Return a record as a row: a conversation, an instruction, prompt and completion, or text."""
    if isinstance(value, RowFault):
        raise DataFailure(f"{origin}: {value.reason}")
    if not isinstance(value, dict):
        raise DataFailure(f"{origin}: a row must be a mapping, not {type(value).__name__}")
    record = _named(value, columns)
    require_text_only(origin, record)
    for name in ("messages", "conversations"):
        if record.get(name) is not None:
            return _conversation(origin, _with_system(origin, parse_messages(origin, record[name]), record), record)
    for asked, answered in (("prompt", "completion"), ("question", "answer")):
        if record.get(asked) is not None and record.get(answered) is not None:
            return _prompt_and_completion(origin, record, asked, answered)
    if record.get("instruction") is not None and record.get("output") is not None:
        return _instruction(origin, record)
    if record.get("text") is not None:
        return Row(origin, text=_text(origin, record["text"], "text"))
    if {"chosen", "rejected"} <= value.keys():
        raise DataFailure(f"{origin}: `chosen` and `rejected` are trained on with --task dpo")
    wanted = ", ".join(f"`{name}`" for name in _stated(columns).values())
    expected = wanted or (
        "messages, conversations, prompt and completion, question and answer, instruction and output, or text"
    )
    raise DataFailure(f"{origin}: expected {expected}; it has {', '.join(str(key) for key in value) or 'nothing'}")


def _named(record: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """Return a record with the columns that the plan names under their usual names, and those alone."""
    stated = _stated(columns)
    if not stated:
        return record
    beside = {name: record[name] for name in _BESIDE_MESSAGES if name in record}
    return {**beside, **{name: record.get(column) for name, column in stated.items()}}


def _stated(columns: Columns) -> dict[str, str]:
    mapping = (
        ("text", columns.text),
        ("prompt", columns.prompt),
        ("completion", columns.completion),
        ("messages", columns.messages),
    )
    return {name: column for name, column in mapping if column is not None}


def _conversation(
    origin: str, messages: tuple[Message, ...], record: Mapping[str, Any], num_prompt_messages: int = 0
) -> Row:
    """Return a conversation with what its record holds beside it for the chat template."""
    answers = [message for message in messages[num_prompt_messages:] if message.role == "assistant"]
    if not answers:
        raise DataFailure(f"{origin}: no turn of the assistant, so there is nothing to learn")
    if not any(message.has_loss for message in answers):
        raise DataFailure(f"{origin}: every turn of the assistant has `weight: 0`, so there is nothing to learn")
    tools, values = record.get("tools"), record.get("chat_template_kwargs")
    return Row(
        origin,
        messages=messages,
        num_prompt_messages=num_prompt_messages,
        tools=parse_tools(origin, tools) if tools is not None else (),
        template_values=parse_template_values(origin, values) if values is not None else {},
    )


def _with_system(origin: str, messages: tuple[Message, ...], record: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return a conversation behind the system prompt that its record holds beside it, as ShareGPT's may."""
    system = _optional_text(origin, record.get("system"), "system")
    return (Message("system", system), *messages) if system and messages[0].role != "system" else messages


def _prompt_and_completion(origin: str, record: Mapping[str, Any], asked: str, answered: str) -> Row:
    prompt, completion = record[asked], record[answered]
    if isinstance(prompt, list) and isinstance(completion, list):
        start = parse_messages(origin, prompt)
        return _conversation(origin, (*start, *parse_messages(origin, completion)), record, len(start))
    if isinstance(prompt, list) or isinstance(completion, list):
        raise DataFailure(f"{origin}: `{asked}` and `{answered}` must be both strings or both lists of turns")
    if not is_text(prompt):
        raise DataFailure(f"{origin}: `{asked}` {text_fault(prompt)}")
    completion = _text(origin, completion, answered)
    if asked == "prompt":
        return Row(origin, prompt=prompt, completion=completion)
    return _asked(origin, (Message("user", prompt),), completion, prompt + "\n")


def _instruction(origin: str, record: Mapping[str, Any]) -> Row:
    """Return a row of Alpaca's columns: `instruction` and `output`, with `input`, `system` and `history` if any."""
    instruction, output = (_text(origin, record[name], name) for name in ("instruction", "output"))
    context, system = (_optional_text(origin, record.get(name), name) for name in ("input", "system"))
    start = [Message("system", system)] if system else []
    history = record.get("history") or []
    for pair in history if isinstance(history, list) else [history]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(is_text(turn) for turn in pair):
            raise DataFailure(f"{origin}: `history` must be a list of pairs of strings: question and answer")
        start += [Message("user", pair[0]), Message("assistant", pair[1], has_loss=False)]
    question = f"{instruction}\n\n{context}" if context else instruction
    plain = _ALPACA.format(", paired with an input that provides further context" if context else "")
    plain += f"\n\n### Instruction:\n{instruction}\n\n" + (f"### Input:\n{context}\n\n" if context else "")
    return _asked(origin, (*start, Message("user", question)), output, plain + "### Response:\n")


def _asked(origin: str, start: tuple[Message, ...], answer: str, prompt: str) -> Row:
    """Return a question with its answer, as a conversation and as the prompt where there is no chat template."""
    messages = (*start, Message("assistant", answer))
    return Row(
        origin, prompt=prompt, completion=answer, messages=messages, num_prompt_messages=len(start)
    )  # fmt: skip


def _text(origin: str, value: Any, column: str) -> str:
    if not is_text(value) or not value.strip():
        raise DataFailure(f"{origin}: `{column}` {text_fault(value)}")
    return value


def _optional_text(origin: str, value: Any, column: str) -> str:
    is_blank = value is None or (isinstance(value, str) and not value.strip())
    return "" if is_blank else _text(origin, value, column)
