"""Pairs of a chosen and a rejected answer, as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from datasets import Dataset

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.answers import Rendering, render, render_cued
from kaitoc.runtime.data.chat_template import ChatTemplate
from kaitoc.runtime.data.encode import IGNORED, count_removed
from kaitoc.runtime.data.examples import Row
from kaitoc.runtime.data.marks import mark
from kaitoc.runtime.data.messages import Message
from kaitoc.runtime.data.pairs import Answer, Pair
from kaitoc.runtime.data.prepare import Removed, total_removed
from kaitoc.runtime.data.workers import BATCH_ROWS, batches_made
from kaitoc.runtime.failures import DataFailure

Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair as the token ids that TRL's collator takes."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def num_tokens(self) -> int:
        """Return the length of the longer of the two sequences."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """The pairs to train on, how many are cut to the maximum length, and how many have no room for an answer.

    `removed` is what the chat template leaves out of them.
    """

    pairs: tuple[EncodedPair, ...]
    num_truncated: int
    num_without_answer: int
    removed: tuple[Removed, ...] = ()

    @property
    def examples(self) -> Dataset:
        """Return the pairs as TRL's collator takes them."""
        names = [field.name for field in fields(EncodedPair)]
        return Dataset.from_dict({name: [getattr(pair, name) for pair in self.pairs] for name in names})

    def longest_tokens(self, data: DataPlan) -> int:
        """Return the length of the longest sequence that is trained on."""
        longest = max(pair.num_tokens for pair in self.pairs)
        return longest if data.max_length is None else min(longest, data.max_length)

    def describe(self, max_length: int | None) -> str:
        """Describe the pairs that are trained on."""
        longest = max(pair.num_tokens for pair in self.pairs)
        said = f"{len(self.pairs)} pairs of a chosen and a rejected answer, at most {longest} tokens"
        said += f"; {self.num_truncated} cut to {max_length}" if self.num_truncated else ""
        left_out = f"; {self.num_without_answer} skipped: their prompts alone have {max_length} tokens"
        said += left_out if self.num_without_answer else ""
        return "; ".join((said, *(removed.describe() for removed in self.removed)))


def as_answered(row: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Return an encoded pair as a row of text that answers as was chosen."""
    prompt, chosen = row["prompt_ids"], row["chosen_ids"]
    return {"input_ids": prompt + chosen, "labels": [IGNORED] * len(prompt) + chosen}


def encode_pairs(tokenizer: Any, pairs: Sequence[Pair], data: DataPlan, num_workers: int | None = 1) -> EncodedPairs:
    """Return pairs as tokens, as TRL's `DPOTrainer` does by itself; raises `DataFailure` where none is left.

    A pair whose prompt alone has the maximum length would keep no answer, and is left out as there. `num_workers` is
    that of `prepare`.
    """
    encode = _Encoder(tokenizer)

    def encode_batch(start: int) -> list[tuple[EncodedPair, Counter[str]]]:
        return [encode(pair) for pair in pairs[start : start + BATCH_ROWS]]

    with batches_made(encode_batch, len(pairs), num_workers) as batches:
        made = [one for batch in batches for one in batch]
    encoded = [pair for pair, _ in made]
    limit, keeps_end = data.max_length, data.truncation_mode == "keep_end"
    has_room = [pair for pair in encoded if limit is None or keeps_end or len(pair.prompt_ids) < limit]
    if not has_room:
        raise DataFailure(f"no answer is left to train on: all prompts have `max_length` {limit} tokens or more")
    num_truncated = sum(limit is not None and pair.num_tokens > limit for pair in has_room)
    removed = total_removed((pair.origin, texts) for pair, (_, texts) in zip(pairs, made, strict=True))
    return EncodedPairs(tuple(has_room), num_truncated, len(encoded) - len(has_room), removed)


class _Encoder:
    """Encodes pairs, and counts what the chat template leaves out of their messages.

    Both conversations are encoded whole, as TRL does it. Source: trl/trainer/dpo_trainer.py, `_prepare_dataset`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, pair: Pair) -> tuple[EncodedPair, Counter[str]]:
        if isinstance(pair.prompt, str):
            ends = ("", *(_ended(str(answer), self._tokenizer.eos_token) for answer in (pair.chosen, pair.rejected)))
            return _parted(*(self._tokenizer(pair.prompt + end)["input_ids"] for end in ends)), Counter()
        return self._conversations(pair, *(_messages(part) for part in (pair.prompt, pair.chosen, pair.rejected)))

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self._tokenizer)

    def _conversations(
        self, pair: Pair, prompt: Messages, chosen: Messages, rejected: Messages
    ) -> tuple[EncodedPair, Counter[str]]:
        asked = Row(pair.origin, messages=prompt, tools=pair.tools, template_values=pair.template_values)
        texts, removed = [render_cued(self._template, asked)], Counter[str]()
        for name, answer in (("chosen", chosen), ("rejected", rejected)):
            row = replace(asked, messages=(*prompt, *answer))
            rendering = render(self._template, row, "everything", self._tokenizer.eos_token)
            _require_answer(row, len(prompt), name, rendering)
            texts.append(rendering.text)
            removed |= count_removed(row, rendering)
        encoded = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return _parted(*encoded), removed


def _messages(part: Answer) -> Messages:
    return tuple(message for message in part if isinstance(message, Message))


def _require_answer(row: Row, num_prompt_messages: int, name: str, rendering: Rendering) -> None:
    """Raise `DataFailure` for a turn of an answer of which the template renders nothing."""
    texts = mark(row.messages).texts
    for turn in range(num_prompt_messages, len(row.messages)):
        own = [text for text in texts if text.turn == turn]
        if row.messages[turn].role == "assistant" and own and all(text in rendering.removed for text in own):
            keys = ", ".join(f"`{key}`" for key in dict.fromkeys(text.key for text in own))
            raise DataFailure(
                f"{row.origin}: the chat template drops a turn of `{name}` ({keys}); set another one in "
                "ModelConfig.chat_template, or remove the row"
            )


def _parted(prompt: list[int], chosen: list[int], rejected: list[int]) -> EncodedPair:
    """Return both conversations as a pair; an answer begins where it differs from the prompt alone."""
    start = min(_num_common(prompt, chosen), _num_common(prompt, rejected))
    return EncodedPair(prompt[:start], chosen[start:], rejected[start:])


def _ended(answer: str, eos: str) -> str:
    return answer if answer.endswith(eos) else answer + eos


def _num_common(ids: list[int], others: list[int]) -> int:
    """Count the tokens of two sequences' common prefix."""
    return next((place for place, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other),
                min(len(ids), len(others)))  # fmt: skip
