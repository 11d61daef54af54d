"""From rows to token ids and labels.

Labels are made here, from places in the text, and not from padded ids: so the end of an answer is learned also when
the tokenizer pads with its end-of-sequence token, and prompts carry no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.examples import Message, Row
from kaitoc.runtime.failures import DataFailure, ModelFailure, PlanFailure

IGNORED = -100
"""The label of a token without loss, as PyTorch's cross-entropy has it."""

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one sequence and its labels, `IGNORED` where there is no loss; both have the same length."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples; how many were cut, and how many of those had nothing left to learn; the lengths before cutting."""

    examples: list[Example]
    num_truncated: int
    num_emptied: int
    lengths_tokens: list[int]

    def percentile_tokens(self, share: float) -> int:
        """Return the length that a share of the sequences does not exceed."""
        ordered = sorted(self.lengths_tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def longest_tokens(self, data: DataPlan) -> int:
        """Return the length of the longest sequence of a batch: as cut, or what is packed to."""
        if data.packing and data.max_length is not None:
            return data.max_length
        return max(len(example.input_ids) for example in self.examples)

    def describe(self, max_length: int | None) -> str:
        """Return the lengths in words, for the log before training."""
        shares = ", ".join(f"p{round(100 * share)} {self.percentile_tokens(share)}" for share in (0.5, 0.9, 0.99))
        text = f"{len(self.examples)} examples of {shares}, at most {max(self.lengths_tokens)} tokens"
        if self.num_truncated:
            text += f"; {self.num_truncated} cut to {max_length}"
        return text + (f", {self.num_emptied} of them left out: no answer was left" if self.num_emptied else "")


def prepare(tokenizer: Any, rows: Sequence[Row], data: DataPlan) -> Prepared:
    """Tokenize rows as a plan says.

    Raises `DataFailure` when no token is left to learn or a template refuses a row, `ModelFailure` without a chat
    template, `PlanFailure` for packing without a length. A packer that splits long
    sequences gets them whole; one that would drop what is too long is spared it, so that it is counted.
    """
    if data.packing and data.max_length is None:
        raise PlanFailure("`packing` fills sequences up to `max_length`, which is not set")
    is_split_by_packer = data.packing and data.packing_strategy != "bfd"
    limit = None if is_split_by_packer else data.max_length
    encode = _Encoder(tokenizer, data)
    examples, lengths, num_truncated = [], [], 0
    for row in rows:
        example = encode(row)
        lengths.append(len(example.input_ids))
        if limit is not None and len(example.input_ids) > limit:
            num_truncated += 1
            example = _truncated(example, limit, data.truncation_mode)
        if any(label != IGNORED for label in example.labels[1:]):
            examples.append(example)
    if not examples:
        raise DataFailure(
            f"no token is left to learn from in {len(rows)} rows: within {limit} tokens no answer begins; "
            "raise `max_length` or set `truncation_mode: keep_end`"
        )
    return Prepared(examples, num_truncated, len(rows) - len(examples), lengths)


def _truncated(example: Example, limit: int, mode: str) -> Example:
    window = slice(limit) if mode == "keep_start" else slice(-limit, None)
    return Example(example.input_ids[window], example.labels[window])


class _Encoder:
    """Turns rows into examples with one tokenizer."""

    def __init__(self, tokenizer: Any, data: DataPlan) -> None:
        self._tokenizer = tokenizer
        self._learns_prompts = data.completion_only_loss is False
        self._learns_everyone = data.assistant_only_loss is False

    def __call__(self, row: Row) -> Example:
        if row.messages:
            return self._conversation(row)
        return self._plain(row.prompt + row.completion if row.completion else row.text, len(row.prompt))

    def _plain(self, text: str, num_prompt_characters: int) -> Example:
        """Encode a text as the tokenizer does any text, with the end of the sequence behind it."""
        eos = self._tokenizer.eos_token
        text = text if text.endswith(eos) else text + eos
        start = 0 if self._learns_prompts else num_prompt_characters
        return self._encode(text, [(start, len(text))], add_special_tokens=True)

    def _conversation(self, row: Row) -> Example:
        """Encode a conversation as its chat template renders it; the loss is on what learned turns add to it."""
        text = self._render(row, row.messages)
        if self._learns_everyone:
            return self._encode(text, [(0, len(text))], add_special_tokens=False)
        learned = [index for index, _ in enumerate(row.messages) if _is_learned(row, index)]
        spans = [self._span(row, index, text) for index in learned]
        if learned[-1] == len(row.messages) - 1 and self._is_unterminated(row, text):
            text += self._tokenizer.eos_token
            spans[-1] = (spans[-1][0], len(text))
        return self._encode(text, spans, add_special_tokens=False)

    def _span(self, row: Row, index: int, text: str) -> _Span:
        """Return what a turn adds to a conversation, behind the cue that asks the model for an answer."""
        cued = self._render(row, row.messages[:index], cue=True) if index else ""
        return _num_common(cued, text), _num_common(self._render(row, row.messages[: index + 1]), text)

    def _is_unterminated(self, row: Row, text: str) -> bool:
        """Return whether a template writes nothing behind the last answer by which a model could learn to stop."""
        return not text.rpartition(row.messages[-1].content.strip())[2].strip()

    def _render(self, row: Row, messages: Sequence[Message], *, cue: bool = False) -> str:
        if not self._tokenizer.chat_template:
            raise ModelFailure("the tokenizer has no chat template; name one with ModelConfig.chat_template")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=cue)
        except Exception as error:
            raise DataFailure(f"{row.origin}: the chat template refuses the conversation: {error}") from error
        return text

    def _encode(self, text: str, spans: Sequence[_Span], *, add_special_tokens: bool) -> Example:
        """Return a text's tokens, with labels for those that reach into a span and do not reach out of it."""
        encoded = self._tokenizer(
            text, add_special_tokens=add_special_tokens, return_offsets_mapping=self._tokenizer.is_fast
        )
        ids: list[int] = encoded["input_ids"]
        offsets = encoded["offset_mapping"] if self._tokenizer.is_fast else self._offsets(text, ids)
        is_learned = _inside(spans)
        return Example(
            ids, [token if is_learned(place) else IGNORED for token, place in zip(ids, offsets, strict=True)]
        )

    def _offsets(self, text: str, ids: list[int]) -> list[_Span]:
        """Return where tokens stand in a text for a tokenizer that does not tell: by how far decoding gets."""
        ends = [len(self._tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
        shift = len(text) - ends[-1] if ends else 0
        return [(start + shift, end + shift) for start, end in zip([0, *ends], ends, strict=False)]


def _inside(spans: Sequence[_Span]) -> Callable[[_Span], bool]:
    """Return a test for tokens that end in a span; a token across the border of a prompt belongs to the answer."""
    return lambda place: any(start < place[1] <= end for start, end in spans)


def _is_learned(row: Row, index: int) -> bool:
    """Return whether a turn carries a loss: all behind a prompt, else those of the assistant."""
    if row.num_prompt_messages:
        return index >= row.num_prompt_messages
    return row.messages[index].role == "assistant"


def _num_common(text: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(text), len(other)))
