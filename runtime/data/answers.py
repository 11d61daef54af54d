"""Where the answers of a conversation stand in what its chat template renders, and what the template leaves out.

An answer begins where the cue ends by which a server asks for it, and goes on to the end of what the template writes
behind it, with the token by which a model learns to stop. It is found in the rendering of the whole conversation,
because templates such as Qwen3's render an earlier turn differently from the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from kaitoc.runtime.data.chat_template import ChatTemplate, find_beginning, num_common
from kaitoc.runtime.data.examples import Row
from kaitoc.runtime.data.marks import MarkedText, Places, mark, read_marks
from kaitoc.runtime.data.messages import Message
from kaitoc.runtime.failures import DataFailure, in_words

_T = TypeVar("_T")
Span = tuple[int, int]
Scope = Literal["everything", "completion", "answers"]
"""What carries a loss: all that is rendered, what follows a prompt, or the turns of the assistant."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A conversation as text, the parts of it that are learned, and the texts that the template left out."""

    text: str
    learned: tuple[Span, ...]
    removed: tuple[MarkedText, ...]


def render(template: ChatTemplate, row: Row, scope: Scope, eos: str) -> Rendering:
    """Return a row's conversation as text, with what is learned of it; raises `DataFailure`.

    `eos` ends an answer behind which the template writes nothing by which a model could learn to stop.
    """
    return _Conversation(template, row).rendering(scope, eos)


def render_cued(template: ChatTemplate, row: Row) -> str:
    """Return a row's messages as text with the cue for an answer behind them; raises `DataFailure`."""
    return _Conversation(template, row).cued()


class _Conversation:
    """One row's conversation and what its template makes of it."""

    def __init__(self, template: ChatTemplate, row: Row) -> None:
        self._template = template
        self._row = row
        self._messages = tuple(template.in_form(message) for message in row.messages)
        self._answers: list[Span] = []
        if template.marks_answers(row.tools):
            self._text, self._answers = self._guarded(self._rendered_with_answers)
        else:
            self._text = self._render(self._messages)
        self._places = self._read_places(len(self._messages), self._text)

    def cued(self) -> str:
        return self._render(self._messages, cue=True)

    def rendering(self, scope: Scope, eos: str) -> Rendering:
        text, spans = self._text, self._spans(scope)
        for index in self._turns(has_loss=False):
            for hole in self._answer(index):
                spans = _without(spans, hole)
        last = self._messages[-1]
        is_open = scope != "everything" and not self._answers and not self._template.frame.ends_answers
        if is_open and last.role == "assistant" and last.has_loss:
            text += eos
            spans = [*spans[:-1], (spans[-1][0], len(text))]
        removed = self._places.removed if self._places is not None else ()
        return Rendering(text, tuple(spans), removed)

    def _spans(self, scope: Scope) -> list[Span]:
        if scope == "everything":
            return [(0, len(self._text))]
        if scope == "completion":
            prompt = self._render(self._messages[: self._row.num_prompt_messages], cue=True)
            return [(num_common(prompt, self._text), len(self._text))]
        return self._answers or [span for index in self._turns(has_loss=True) for span in self._answer(index)]

    def _turns(self, *, has_loss: bool) -> list[int]:
        """Return the answers that are learned, or those that are context alone; a prompt's are left out."""
        start = self._row.num_prompt_messages
        return [
            index
            for index, message in enumerate(self._messages)
            if index >= start and message.role == "assistant" and message.has_loss == has_loss
        ]

    def _answer(self, index: int) -> list[Span]:
        """Locate an answer, in parts where the template inserts tool results between them.

        Raises `DataFailure` when nothing of it is rendered, or it cannot be found.
        """
        if self._places is None:
            return [self._answer_behind_prefix(index)]
        places, own = self._places.places, self._places.of_turn(index)
        if not own:
            keys = ", ".join(
                f"`{key}`" for key, value in self._messages[index].as_turn().items() if value and key != "role"
            )
            raise DataFailure(
                f"{self._row.origin}: the chat template drops turn {index + 1} ({keys}); set "
                "another one in ModelConfig.chat_template, or give the turn `weight: 0`"
            )
        parts = [number for number, place in enumerate(own) if number == 0 or place != own[number - 1] + 1]
        spans = []
        for first, following in zip(parts, [*parts[1:], len(own)], strict=True):
            start = places[own[first]].start if first else self._start(index, own[0])
            spans.append((start, self._end(index, following - 1 - len(own), own[following - 1])))
        return spans

    def _start(self, index: int, first: int) -> int:
        """Find the start of an answer between the text before it and the end of its own first text."""
        places = self._places.places if self._places is not None else ()
        before, end = places[first - 1].end if first else 0, places[first].end
        frame, window = self._template.frame, self._text[before:end]
        place, length = find_beginning(frame.cue, window)
        if 0 < frame.num_cue_characters <= length:
            return before + place + length
        for skipped in {0, len(window) - len(window.lstrip())}:
            if frame.header and window.startswith(frame.header, skipped):
                return before + skipped + len(frame.header)
        prompt = self._render(self._messages[:index], cue=True)
        cued = num_common(prompt, self._text)
        if before <= cued <= end:
            return cued
        asked = self._read_places(index, prompt, cue=True)
        tail = prompt[asked.places[-1].end :] if asked is not None and asked.places else ""
        if tail and window.startswith(tail):
            return before + len(tail)
        raise self._failure(f"cannot tell where turn {index + 1} begins in what the chat template renders; ")

    def _end(self, index: int, number: int, last: int) -> int:
        """Find the end of an answer, or of a part, by its last text, counted from the turn's end."""
        places = self._places.places if self._places is not None else ()
        if last + 1 == len(places):
            return len(self._text)
        start, following = places[last].end, self._text[places[last].end : places[last + 1].end]
        frame = self._template.frame
        if frame.ending.strip() and self._messages[places[last + 1].turn].role == "user":
            for skipped in {0, len(following) - len(following.lstrip())}:
                if following.startswith(frame.ending, skipped):
                    return start + skipped + len(frame.ending)
        return start + len(self._template.ending_of(self._tail(index, number), following))

    def _tail(self, index: int, number: int) -> str:
        """Find the text that follows an answer at the end of a conversation, "" when it cannot be determined."""
        text = self._render(self._messages[: index + 1])
        places = self._read_places(index + 1, text)
        own = places.of_turn(index) if places is not None else []
        return text[places.places[own[number]].end :] if places is not None and -number <= len(own) else ""

    def _answer_behind_prefix(self, index: int) -> Span:
        """Locate an answer by rendering the turns before it, for templates whose output the marks change."""
        start = num_common(self._render(self._messages[:index], cue=True) if index else "", self._text)
        end = num_common(self._render(self._messages[: index + 1]), self._text)
        content = self._messages[index].content
        if isinstance(content, str) and start < end and content.strip() in self._text[start:end]:
            return start, end
        raise self._failure(f"cannot find turn {index + 1} in what the chat template renders; ")

    def _read_places(self, num_turns: int, text: str, *, cue: bool = False) -> Places | None:
        marked = mark(self._messages[:num_turns])
        tools, values = self._row.tools, self._row.template_values
        try:
            rendered = self._template.render(marked.messages, tools=tools, values=values, cue=cue)
        except Exception:
            # The template refuses what carries marks; it is known to take the conversation without them.
            return None
        return read_marks(marked, rendered, text)

    def _render(self, messages: Sequence[Message], *, cue: bool = False) -> str:
        tools, values = self._row.tools, self._row.template_values
        return self._guarded(lambda: self._template.render(messages, tools=tools, values=values, cue=cue))

    def _rendered_with_answers(self) -> tuple[str, list[Span]]:
        tools, values = self._row.tools, self._row.template_values
        return self._template.render_with_answers(self._messages, tools=tools, values=values)

    def _guarded(self, rendered: Callable[[], _T]) -> _T:
        try:
            return rendered()
        except Exception as error:
            # A template is a program of others, which raises whatever it likes.
            raise DataFailure(
                f"{self._row.origin}: the chat template refuses the conversation: {in_words(error)}"
            ) from error

    def _failure(self, what: str) -> DataFailure:
        remedy = "name a template with `{% generation %}` around answers in ModelConfig.chat_template"
        return DataFailure(f"{self._row.origin}: {what}{remedy}")


def _without(spans: Sequence[Span], hole: Span) -> list[Span]:
    """Return spans less what lies in another one."""
    left = [(start, min(end, hole[0])) for start, end in spans]
    right = [(max(start, hole[1]), end) for start, end in spans]
    return sorted({(start, end) for start, end in (*left, *right) if start < end})
