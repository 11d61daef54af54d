"""From rows to token ids and labels.

Labels are made here, from places in the text, and not from padded ids: so the end of an answer is learned also when
the tokenizer pads with its end-of-sequence token, and prompts carry no loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.answers import Rendering, Scope, Span, render
from kaitoc.runtime.data.chat_template import ChatTemplate
from kaitoc.runtime.data.examples import Row

IGNORED = -100
"""The label of a token without loss, as PyTorch's cross-entropy has it."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one sequence and its labels, `IGNORED` where there is no loss; both have the same length."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The examples of some rows, and how many texts of each row its chat template left out, by their keys."""

    examples: list[Example]
    removed: list[Counter[str]]


class Encoder:
    """Turns rows into examples with one tokenizer; raises `DataFailure`, and `ModelFailure` without chat template."""

    def __init__(self, tokenizer: Any, data: DataPlan) -> None:
        self._tokenizer = tokenizer
        self._learns_prompts = data.completion_only_loss is False
        self._assistant_only = data.assistant_only_loss

    def __call__(self, rows: Sequence[Row]) -> Encoded:
        """Encode rows; their texts go to the tokenizer together, which is several times faster than one by one."""
        chats = [bool(row.messages) and not (row.prompt and not self._tokenizer.chat_template) for row in rows]
        renderings = [
            self._conversation(row) if is_chat else self._plain(row) for row, is_chat in zip(rows, chats, strict=True)
        ]
        examples: list[Example | None] = [None] * len(rows)
        for wanted in (True, False):
            indices = [index for index, is_chat in enumerate(chats) if is_chat == wanted]
            encoded = self._encode([renderings[index] for index in indices], add_special_tokens=not wanted)
            for index, example in zip(indices, encoded, strict=True):
                examples[index] = example
        removed = [count_removed(row, rendering) for row, rendering in zip(rows, renderings, strict=True)]
        return Encoded([example for example in examples if example is not None], removed)

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._tokenizer)

    def _conversation(self, row: Row) -> Rendering:
        return render(self._template, row, self._scope(row), self._tokenizer.eos_token)

    def _scope(self, row: Row) -> Scope:
        """Resolve which tokens are learned as TRL reads both options; by default answers only."""
        if not row.num_prompt_messages:
            return "everything" if self._assistant_only is False else "answers"
        if self._assistant_only:
            return "answers"
        return "everything" if self._learns_prompts else "completion"

    def _plain(self, row: Row) -> Rendering:
        """Return a text with the end of the sequence behind it; TRL tokenizes it as the tokenizer does any text."""
        text, eos = row.prompt + row.completion if row.completion else row.text, self._tokenizer.eos_token
        text = text if text.endswith(eos) else text + eos
        start = 0 if self._learns_prompts else len(row.prompt)
        return Rendering(text, ((start, len(text)),), ())

    def _encode(self, renderings: Sequence[Rendering], *, add_special_tokens: bool) -> list[Example]:
        """Return the tokens of texts, with labels for those that reach into a span."""
        if not renderings:
            return []
        texts = [rendering.text for rendering in renderings]
        encoded = self._tokenizer(texts, add_special_tokens=add_special_tokens, verbose=False)
        return [
            _labelled(ids, rendering, self._token_finder(encoded, index, rendering.text, ids))
            for index, (ids, rendering) in enumerate(zip(encoded["input_ids"], renderings, strict=True))
        ]

    def _token_finder(self, encoded: Any, index: int, text: str, ids: list[int]) -> Callable[[int], int | None]:
        """Return a function from a character's place to the token that has it, None for one that no token has."""
        if self._tokenizer.is_fast:
            find: Callable[[int], int | None] = encoded.encodings[index].char_to_token
            return find
        ends = [end for _, end in self._offsets(text, ids)]
        return lambda place: next((token for token, end in enumerate(ends) if place < end), None)

    def _offsets(self, text: str, ids: list[int]) -> list[Span]:
        """Locate tokens in a text by decoding prefixes, for tokenizers without offsets."""
        ends = [len(self._tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
        shift = len(text) - ends[-1] if ends else 0
        return [(start + shift, end + shift) for start, end in zip([0, *ends], ends, strict=False)]


def _labelled(ids: list[int], rendering: Rendering, token_of: Callable[[int], int | None]) -> Example:
    """Return an example whose labels are the tokens that have a character of a span.

    A token across a border is learned, as TRL has it. What a tokenizer puts before or behind the whole text goes with
    a span that begins or ends there.
    """
    num_characters, labels = len(rendering.text), [IGNORED] * len(ids)
    for start, end in rendering.learned:
        first = 0 if start == 0 else _next_token(token_of, start, num_characters, len(ids))
        stop = _next_token(token_of, end, num_characters, len(ids))
        last = token_of(end - 1)
        stop = stop if last is None else max(stop, last + 1)
        labels[first:stop] = ids[first:stop]
    return Example(ids, labels)


def _next_token(token_of: Callable[[int], int | None], place: int, num_characters: int, num_tokens: int) -> int:
    """Return the token of a character, or of the next one that any token has."""
    found = (token_of(character) for character in range(place, num_characters))
    return next((token for token in found if token is not None), num_tokens)


def count_removed(row: Row, rendering: Rendering) -> Counter[str]:
    """Count the texts of a row that its chat template left out, by their keys."""
    removed = Counter(text.key for text in rendering.removed)
    names = [str((tool.get("function") or tool).get("name", "")) for tool in row.tools]
    if names and not any(name in rendering.text for name in names):
        removed["tools"] += 1
    return removed
