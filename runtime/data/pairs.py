"""Pairs of a chosen and a rejected answer, as files have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trl.data_utils import extract_prompt

from kaitoc.runtime.data.examples import Rows, read_each
from kaitoc.runtime.data.files import RowFault
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

Answer = str | tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and the two answers to it, texts or messages; `origin` says where it came from.

    `tools` and `template_values` go to the chat template of messages.
    """

    origin: str
    prompt: Answer
    chosen: Answer
    rejected: Answer
    tools: tuple[Any, ...] = ()
    template_values: Mapping[str, Any] = field(default_factory=dict)


def read_pairs(paths: tuple[str, ...], *, data_format: str | None = None, skip_bad_rows: bool = False) -> Rows[Pair]:
    """Read every pair of files and folders; raises `DataFailure` as `read_rows` does."""
    return read_each(paths, _pair, data_format=data_format, skip_bad_rows=skip_bad_rows)


def _pair(origin: str, value: Any) -> Pair:
    if isinstance(value, RowFault):
        raise DataFailure(f"{origin}: {value.reason}")
    has = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
    if not isinstance(value, dict) or value.get("chosen") is None or value.get("rejected") is None:
        raise DataFailure(f"{origin}: expected `chosen` and `rejected`, as --task dpo trains on; it has {has}")
    require_text_only(origin, value)
    names = ("prompt", "chosen", "rejected") if value.get("prompt") is not None else ("chosen", "rejected")
    answers: dict[str, Any] = {name: _answer(origin, name, value[name]) for name in names}
    if len({type(answer) for answer in answers.values()}) > 1:
        raise DataFailure(f"{origin}: {', '.join(names)} must be all strings or all lists of messages")
    if answers["chosen"] == answers["rejected"]:
        raise DataFailure(f"{origin}: `chosen` and `rejected` are equal, so there is nothing to prefer")
    parts: Mapping[str, Any] = answers if "prompt" in answers else extract_prompt(answers)
    prompt, chosen, rejected = (parts[name] for name in ("prompt", "chosen", "rejected"))
    if not (prompt and chosen and rejected):
        raise DataFailure(
            f"{origin}: needs a `prompt` (or a common beginning of the answers) and two answers; it has {has}"
        )
    if isinstance(prompt, str):
        return Pair(origin, prompt, chosen, rejected)
    if not all(message.has_loss for message in (*chosen, *rejected)):
        raise DataFailure(
            f"{origin}: a turn of an answer has no loss: an answer is preferred as a whole; remove `weight`"
        )
    tools, values = value.get("tools"), value.get("chat_template_kwargs")
    return Pair(
        origin,
        tuple(replace(message, has_loss=True) for message in prompt),
        chosen,
        rejected,
        tools=parse_tools(origin, tools) if tools is not None else (),
        template_values=parse_template_values(origin, values) if values is not None else {},
    )


def _answer(origin: str, name: str, value: Any) -> Answer:
    if isinstance(value, list):
        return parse_messages(origin, value)
    if is_text(value):
        return value
    raise DataFailure(f"{origin}: `{name}` {text_fault(value, 'a string or a list of messages')}")
