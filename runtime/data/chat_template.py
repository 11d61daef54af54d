"""A tokenizer's chat template: what it renders, and by what it frames an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from kaitoc.runtime.data.files import parsed_json
from kaitoc.runtime.data.messages import Message
from kaitoc.runtime.failures import ModelFailure

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_QUESTIONS, _ANSWERS = ("What is asked?", "What is asked next?"), ("What is answered.", "What is answered next.")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template writes around an answer, as a plain conversation shows it.

    `cue` is what it adds to ask for an answer, of which at least `num_cue_characters` stand before each; `header` is
    all that stands between a question and its answer, `ending` what belongs to an answer behind its text, before the
    next question. `ends_answers` says whether it writes anything behind the last one.
    """

    cue: str = ""
    num_cue_characters: int = 0
    header: str = ""
    ending: str = ""
    ends_answers: bool = True


class ChatTemplate:
    """The chat template of a tokenizer; raises `ModelFailure` when it has none."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ModelFailure("the tokenizer has no chat template; name one with ModelConfig.chat_template")
        self._tokenizer = tokenizer
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), values: Mapping[str, Any] | None = None,
        cue: bool = False,
    ) -> str:  # fmt: skip
        """Return a conversation as text, and a cue for an answer behind it; raises whatever the template does."""
        return self._rendered(messages, tools, values, cue=cue)[0]

    def render_with_answers(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), values: Mapping[str, Any] | None = None
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return a conversation as text and the places that the template itself marks with `{% generation %}`."""
        return self._rendered(messages, tools, values, has_answers=True)

    def marks_answers(self, tools: Sequence[Any] = ()) -> bool:
        """Return whether the template says itself, with `{% generation %}`, what the model generates."""
        return bool(_GENERATION.search(self._source(tools)))

    def in_form(self, message: Message) -> Message:
        """Return a message in the form that the template reads: its content as text, or as a list of parts.

        Parts of text are joined by line breaks where the template reads text alone, as vLLM does when it serves it. So
        does it with the arguments of calls that are JSON text, as OpenAI has them: here a template is given mappings
        where it refuses text.
        """
        if message.extras.get("tool_calls") and self._refuses_json_text:
            message = replace(message, extras={**message.extras, "tool_calls": _parsed(message.extras["tool_calls"])})
        takes_text, takes_parts = self._forms
        content = message.content
        if isinstance(content, str) and not takes_text and takes_parts:
            return replace(message, content=[{"type": "text", "text": content}])
        if isinstance(content, list) and not takes_parts:
            return replace(message, content="\n".join(part["text"] for part in content))
        return message

    def ending_of(self, tail: str, following: str) -> str:
        """Return the part of the text after an answer that belongs to it.

        `tail` is what follows it where the conversation ends with it; what both share belongs to the answer. Where a
        template writes another token at the end of a conversation, or none, it is the next token of control, unless
        that is the one by which an answer begins.
        """
        ending, frame = self._ending(tail, following, ends_answers=self.frame.ends_answers), self.frame
        return "" if frame.ends_answers and frame.cue.startswith(ending) else ending

    def _ending(self, tail: str, following: str, *, ends_answers: bool) -> str:
        shared = self._cut_between_tokens(following, num_common(tail, following))
        if shared.strip() and ends_answers:
            return shared
        next_token = self._special.search(following, len(shared))
        is_next = next_token is not None and not following[len(shared) : next_token.start()].strip()
        return following[: next_token.end()] if next_token is not None and (is_next or not shared.strip()) else shared

    @cached_property
    def frame(self) -> Frame:
        """What the template writes around an answer; nothing is known of one that refuses a plain conversation."""
        try:
            return self._frame()
        except Exception:
            # Templates are programs of others: one may refuse a conversation for any reason of its own.
            return Frame()

    def _frame(self) -> Frame:
        turns = [
            self.in_form(Message(role, text))
            for pair in zip(_QUESTIONS, _ANSWERS, strict=True)
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        asked, cued = self.render(turns[:1]), self.render(turns[:1], cue=True)
        short, long = self.render(turns[:2]), self.render(turns)
        cue = cued[len(self._cut_between_tokens(cued, num_common(asked, cued))) :]
        tail = short[_end_of(_ANSWERS[0], short) :]
        ends_answers = bool(tail.strip())
        headers = [
            long[_end_of(question, long) : long.index(answer)]
            for question, answer in zip(_QUESTIONS, _ANSWERS, strict=True)
        ]
        return Frame(
            cue=cue,
            num_cue_characters=min(find_beginning(cue, header)[1] for header in headers),
            header=short[_end_of(_QUESTIONS[0], short) : num_common(cued, short)],
            ending=self._ending(
                tail, long[_end_of(_ANSWERS[0], long) : long.index(_QUESTIONS[1])], ends_answers=ends_answers
            ),
            ends_answers=ends_answers,
        )

    def _cut_between_tokens(self, text: str, end: int) -> str:
        """Return a text's beginning, shortened where it would end inside a token of control."""
        cut = next((match.start() for match in self._special.finditer(text) if match.start() < end < match.end()), end)
        return text[:cut]

    @cached_property
    def _forms(self) -> tuple[bool, bool]:
        """Whether the template renders a content that is text, and one that is a list of parts."""
        return self._shows(_QUESTIONS[0]), self._shows([{"type": "text", "text": _QUESTIONS[0]}])

    @cached_property
    def _refuses_json_text(self) -> bool:
        """Whether the template renders calls whose arguments are mappings alone."""
        return self._renders_call({"key": "value"}) and not self._renders_call('{"key": "value"}')

    def _renders_call(self, arguments: Any) -> bool:
        call = {"type": "function", "function": {"name": "look_up", "arguments": arguments}}
        try:
            self.render([Message("user", _QUESTIONS[0]), Message("assistant", "", {"tool_calls": [call]})])
        except Exception:
            # As above: a template that cannot read arguments says so in many ways.
            return False
        return True

    def _shows(self, content: Any) -> bool:
        try:
            text = self.render([Message("user", content)])
        except Exception:
            # As above: a template that cannot read a form of content says so in many ways.
            return isinstance(content, str)
        return _QUESTIONS[0] in text and not re.search(r"['\"]text['\"]", text)

    def _source(self, tools: Sequence[Any]) -> str:
        source: str = self._tokenizer.get_chat_template(tools=list(tools) or None)
        return source

    def _rendered(
        self, messages: Sequence[Message], tools: Sequence[Any], values: Mapping[str, Any] | None, *,
        cue: bool = False, has_answers: bool = False,
    ) -> tuple[str, list[tuple[int, int]]]:  # fmt: skip
        """Render as `apply_chat_template` does, which gives the places of answers only with tokens."""
        rendered: Any = render_jinja_template(
            conversations=[[message.as_turn() for message in messages]],
            tools=list(tools) or None,
            chat_template=self._source(tools),
            return_assistant_tokens_mask=has_answers,
            add_generation_prompt=cue,
            **{**self._tokenizer.special_tokens_map, **(values or {})},
        )
        texts, answers = rendered
        return texts[0], answers[0] if answers else []


def num_common(text: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text.startswith(other[low:middle], low) else (low, middle - 1)
    return low


def find_beginning(wanted: str, text: str) -> tuple[int, int]:
    """Find the first occurrence of the longest prefix of a wanted text; returns offset and length."""
    low, high = 0, len(wanted)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wanted[:middle] in text else (low, middle - 1)
    return text.find(wanted[:low]), low


def _parsed(value: Any) -> Any:
    """Return calls with the arguments that are JSON text of a mapping as that mapping."""
    if isinstance(value, list):
        return [_parsed(item) for item in value]
    if not isinstance(value, dict):
        return value
    arguments = parsed_json(value["arguments"]) if isinstance(value.get("arguments"), str) else None
    inner = {name: _parsed(item) if name == "function" else item for name, item in value.items()}
    return {**inner, "arguments": arguments} if isinstance(arguments, dict) else inner


def _end_of(wanted: str, text: str) -> int:
    return text.index(wanted) + len(wanted)
