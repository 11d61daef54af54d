"""The turns of a conversation, as data has them and as a chat template is handed them.

Whatever a turn holds beside role and content (`tool_calls`, `reasoning_content`, `name`) goes to the template as it is,
as TRL's trainer hands it; what the runtime cannot train (images, fractional weights) is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from kaitoc.runtime.data.files import RowFault, parsed_json
from kaitoc.runtime.failures import DataFailure

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_FLAGS = ("weight", "train", "training", "loss")
"""What data say of whether a turn is learned: OpenAI's (`weight`), axolotl's and ms-swift's."""
_DETAILS = ("train_detail", "training_detail")
_OF_A_TURN = ("role", "from", "content", "value", *_FLAGS)
_MEDIA = ("image", "image_url", "video", "video_url", "audio", "audio_url", "input_audio", "file")
_MEDIA_COLUMNS = ("image", "images", "video", "videos", "audio", "audios")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `content` is text, a list of text parts, what a tool returned, or None beside `tool_calls`. `extras` are the turn's
    other keys. A turn of the assistant whose `has_loss` is false is context alone.
    """

    role: str
    content: Any = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    has_loss: bool = True

    def as_turn(self) -> dict[str, Any]:
        """Return the mapping that a chat template reads; keys without a value are left out, as transformers does."""
        turn = {"role": self.role, "content": self.content, **self.extras}
        return {name: value for name, value in turn.items() if value is not None}


def parse_messages(origin: str, turns: Any) -> tuple[Message, ...]:
    """Return the turns of a conversation, which may be JSON text; raises `DataFailure`."""
    if isinstance(turns, str):
        turns = parsed_json(turns)
        if isinstance(turns, RowFault):
            raise DataFailure(f"{origin}: {turns.reason}")
    if not isinstance(turns, list) or not turns:
        raise DataFailure(f"{origin}: a conversation must be a non-empty list of turns")
    return tuple(_message(origin, turn) for turn in turns)


def parse_tools(origin: str, tools: Any) -> tuple[Any, ...]:
    """Return the functions that a row offers the model, which may be JSON text; raises `DataFailure`."""
    if isinstance(tools, str):
        tools = parsed_json(tools) if tools.strip() else []
    if not isinstance(tools, list) or not all(_is_tool(tool) for tool in tools):
        raise DataFailure(f"{origin}: `tools` must be a list of functions, each a mapping, or its JSON text")
    return tuple(tools)


def _is_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function", {}), dict) and is_encodable(tool)


def parse_template_values(origin: str, values: Any) -> dict[str, Any]:
    """Parse a row's own chat template variables, such as `enable_thinking`; raises `DataFailure`."""
    if isinstance(values, str):
        values = parsed_json(values)
    if not isinstance(values, dict) or not is_encodable(values):
        raise DataFailure(f"{origin}: `chat_template_kwargs` must be a mapping, or its JSON text")
    return {str(name): value for name, value in values.items() if value is not None}


def require_text_only(origin: str, record: Mapping[str, Any]) -> None:
    """Raise `DataFailure` for a row that comes with images, video or audio."""
    for name in _MEDIA_COLUMNS:
        if record.get(name) not in (None, [], ""):
            raise DataFailure(f"{origin}: `{name}` cannot be trained: the runtime trains text only; remove the row")


def is_text(value: Any) -> TypeGuard[str]:
    """Return whether a value is text that can be encoded: JSON can escape half of a character, which is none."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def text_fault(value: Any, wanted: str = "a string") -> str:
    """Say what keeps a value from being text to learn from, to follow its name."""
    if not isinstance(value, str):
        return f"must be {wanted}, not {type(value).__name__}"
    return "must not be empty" if is_text(value) else "has half of a character (a lone surrogate), which has no tokens"


def is_encodable(value: Any) -> bool:
    """Return whether every text inside a value can be encoded."""
    return all(is_text(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _message(origin: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise DataFailure(f"{origin}: a turn must be a mapping with `role` and `content`")
    role = turn.get("role", turn.get("from"))
    if not is_text(role) or not role:
        raise DataFailure(f"{origin}: `role` of a turn {text_fault(role)}")
    role = _ROLES.get(role, role)
    extras = {name: value for name, value in turn.items() if name not in _OF_A_TURN and value is not None}
    content = _content(origin, role, turn.get("content", turn.get("value")))
    if content is None and not any(value for name, value in extras.items()):
        raise DataFailure(f"{origin}: a turn needs a string as `content`, or `tool_calls` of the assistant")
    if not is_encodable(extras):
        raise DataFailure(f"{origin}: a turn has half of a character (a lone surrogate), which has no tokens")
    return Message(role, content, extras, _has_loss(origin, role, turn))


def _content(origin: str, role: str, content: Any) -> Any:
    """Return a turn's content: text, text parts, None, or the mapping that a tool returned; raises `DataFailure`."""
    if content is None or is_text(content):
        return content
    if isinstance(content, list):
        return [_part(origin, part) for part in content]
    if role == "tool" and isinstance(content, dict) and is_encodable(content):
        return content
    raise DataFailure(f"{origin}: `content` of a turn {text_fault(content, 'a string or a list of parts')}")


def _part(origin: str, part: Any) -> Any:
    """Return a part of a content as templates read it; raises `DataFailure` for one that is no text."""
    if is_text(part):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _MEDIA:
        raise DataFailure(
            f"{origin}: a content part of type `{kind}` cannot be trained: the runtime trains text only; "
            "remove the part"
        )
    if kind == "text" and is_text(part.get("text")):
        return {"type": "text", "text": part["text"]}
    shown = json.dumps(part)[:80]
    raise DataFailure(f'{origin}: a content part must be `{{"type": "text", "text": ...}}`, not {shown}')


def _has_loss(origin: str, role: str, turn: Mapping[str, Any]) -> bool:
    """Return whether a turn is learned from; raises `DataFailure` for a weight that no loss can honour."""
    for name in _DETAILS:
        if turn.get(name) is not None:
            raise DataFailure(f"{origin}: `{name}` cannot be trained: a turn is learned or not; use `weight`")
    flags = {name: turn[name] for name in _FLAGS if turn.get(name) is not None}
    for name, flag in flags.items():
        if isinstance(flag, bool) == (name == "weight") or flag not in [0, 1]:
            values = "0 (no loss) or 1" if name == "weight" else "false (no loss) or true"
            raise DataFailure(f"{origin}: `{name}` of a turn must be {values}, not {flag!r}")
        if flag and role != "assistant":
            raise DataFailure(
                f"{origin}: `{name}: {json.dumps(flag)}` on a turn of `{role}`: only turns of the assistant are learned"
            )
    return all(flags.values())
