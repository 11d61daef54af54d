"""From rows to tokens and labels.

Only the assistant's turns carry a loss. The end of every answer is learned, also when the tokenizer pads with its
end-of-sequence token, because labels are made here and not from padded ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaitoc.runtime.data import Message, Row
from kaitoc.runtime.failures import DataFailure, ModelFailure

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one sequence and its labels, `IGNORED` where there is no loss; both have the same length."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples, how many were cut at the maximal length, and the lengths before cutting."""

    examples: list[Example]
    num_truncated: int
    lengths_tokens: list[int]

    def percentile_tokens(self, share: float) -> int:
        """Return the length that a share of the sequences does not exceed."""
        ordered = sorted(self.lengths_tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def prepare(tokenizer: Any, rows: Sequence[Row], max_length_tokens: int | None) -> Prepared:
    """Tokenize rows; raises `DataFailure` when no token is left to learn, `ModelFailure` without a chat template."""
    examples: list[Example] = []
    lengths = []
    num_truncated = 0
    for row in rows:
        example = _plain(tokenizer, row) if row.text else _conversation(tokenizer, row)
        lengths.append(len(example.input_ids))
        if max_length_tokens is not None and len(example.input_ids) > max_length_tokens:
            num_truncated += 1
            example = Example(example.input_ids[:max_length_tokens], example.labels[:max_length_tokens])
        if any(label != IGNORED for label in example.labels[1:]):
            examples.append(example)
    if not examples:
        raise DataFailure(
            f"no token is left to learn from in {len(rows)} rows: at {max_length_tokens} tokens every answer is cut off"
        )
    return Prepared(examples, num_truncated, lengths)


def _plain(tokenizer: Any, row: Row) -> Example:
    ids = _ids(tokenizer, row.text, special=True)
    if not ids or ids[-1] != tokenizer.eos_token_id:
        ids = [*ids, tokenizer.eos_token_id]
    return Example(ids, list(ids))


def _conversation(tokenizer: Any, row: Row) -> Example:
    """Render the conversation turn by turn and keep the loss on what each assistant turn adds."""
    if not tokenizer.chat_template:
        raise ModelFailure("the tokenizer has no chat template; name one with ModelConfig.chat_template")
    ids: list[int] = []
    labels: list[int] = []
    rendered = ""
    for index, message in enumerate(row.messages):
        before = row.messages[:index]
        if message.role == "assistant":
            rendered = _extend(tokenizer, row, before, True, rendered, ids, labels, learn=False)
        learn = message.role == "assistant"
        rendered = _extend(tokenizer, row, row.messages[: index + 1], False, rendered, ids, labels, learn=learn)
    if ids[-1:] != [tokenizer.eos_token_id]:
        ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id)
    return Example(ids, labels)


def _extend(
    tokenizer: Any, row: Row, messages: Sequence[Message], prompt: bool, rendered: str,
    ids: list[int], labels: list[int], *, learn: bool,
) -> str:  # fmt: skip
    """Append what rendering `messages` adds to `rendered`; return the new rendering."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:
        raise DataFailure(f"{row.origin}: the chat template refuses the conversation: {error}") from error
    if not text.startswith(rendered):
        # The template ends a conversation differently than it goes on; learn nothing from the part that moved.
        return rendered
    added = _ids(tokenizer, text[len(rendered) :], special=False)
    ids += added
    labels += added if learn else [IGNORED] * len(added)
    return text


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=special)["input_ids"]
    return ids


class Collator:
    """Pads examples to the longest of a batch; padding has no loss and no attention."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return input_ids, attention_mask and labels, each of shape (batch, longest)."""
        import torch

        longest = max(len(feature["input_ids"]) for feature in features)
        batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
        for feature in features:
            length = len(feature["input_ids"])
            rest = longest - length
            batch["input_ids"].append([*feature["input_ids"], *[self._pad_token_id] * rest])
            batch["attention_mask"].append([1] * length + [0] * rest)
            batch["labels"].append([*feature["labels"], *[IGNORED] * rest])
        return {name: torch.tensor(rows) for name, rows in batch.items()}
