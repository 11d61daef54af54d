"""Pairs of a chosen and a rejected answer, as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from datasets import Dataset
from trl.data_utils import extract_prompt

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.encode import IGNORED
from kaitoc.runtime.data.examples import Rows, read_each
from kaitoc.runtime.data.files import RowFault
from kaitoc.runtime.data.messages import parse_messages, require_text_only
from kaitoc.runtime.data.workers import BATCH_ROWS, batches_made
from kaitoc.runtime.failures import DataFailure

Answer = str | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and the two answers to it, texts or messages; `origin` says where it came from."""

    origin: str
    prompt: Answer
    chosen: Answer
    rejected: Answer


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
    """The pairs to train on, how many are cut to the maximum length, and how many have no room for an answer."""

    pairs: tuple[EncodedPair, ...]
    num_truncated: int
    num_without_answer: int

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
        left_out = f"; {self.num_without_answer} left out, whose prompts alone have {max_length} tokens"
        return said + (left_out if self.num_without_answer else "")


def as_answered(row: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Return an encoded pair as a row of text that answers as was chosen."""
    prompt, chosen = row["prompt_ids"], row["chosen_ids"]
    return {"input_ids": prompt + chosen, "labels": [IGNORED] * len(prompt) + chosen}


def read_pairs(paths: tuple[str, ...], *, data_format: str | None = None, skip_bad_rows: bool = False) -> Rows[Pair]:
    """Read every pair of files and folders; raises `DataFailure` as `read_rows` does."""
    return read_each(paths, _pair, data_format=data_format, skip_bad_rows=skip_bad_rows)


def _pair(origin: str, value: Any) -> Pair:
    if isinstance(value, RowFault):
        raise DataFailure(f"{origin}: {value.reason}")
    if not isinstance(value, dict) or value.get("chosen") is None or value.get("rejected") is None:
        has = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise DataFailure(f"{origin}: expected `chosen` and `rejected`, as --task dpo trains on; it has {has}")
    require_text_only(origin, value)
    if value.get("tools"):
        raise DataFailure(f"{origin}: `tools` beside `chosen` and `rejected` are not trained on")
    names = ("prompt", "chosen", "rejected") if value.get("prompt") is not None else ("chosen", "rejected")
    answers: dict[str, Any] = {name: _answer(origin, name, value[name]) for name in names}
    if len({type(answer) for answer in answers.values()}) > 1:
        raise DataFailure(f"{origin}: {', '.join(names)} must be all strings or all lists of messages")
    if answers["chosen"] == answers["rejected"]:
        raise DataFailure(f"{origin}: `chosen` and `rejected` are equal, so there is nothing to prefer")
    pair = Pair(origin, **(answers if "prompt" in answers else extract_prompt(answers)))
    if not (pair.prompt and pair.chosen and pair.rejected):
        raise DataFailure(f"{origin}: needs a prompt (or a common beginning of the answers) and two answers")
    return pair


def _answer(origin: str, name: str, value: Any) -> Answer:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise DataFailure(f"{origin}: `{name}` must be a string or a list of messages, not {type(value).__name__}")
    parse_messages(origin, value)
    return [{key: part for key, part in message.items() if part is not None} for message in value]


def encode_pairs(tokenizer: Any, pairs: Sequence[Pair], data: DataPlan, num_workers: int | None = 1) -> EncodedPairs:
    """Return pairs as tokens, as TRL's `DPOTrainer` does by itself; raises `DataFailure` where none is left.

    A pair whose prompt alone has the maximum length would keep no answer, and is left out as there. `num_workers` is
    that of `prepare`.
    """

    def encode(start: int) -> list[EncodedPair]:
        return [_encode(tokenizer, pair) for pair in pairs[start : start + BATCH_ROWS]]

    with batches_made(encode, len(pairs), num_workers) as batches:
        encoded = [pair for batch in batches for pair in batch]
    limit, keeps_end = data.max_length, data.truncation_mode == "keep_end"
    has_room = [pair for pair in encoded if limit is None or keeps_end or len(pair.prompt_ids) < limit]
    if not has_room:
        raise DataFailure(f"no answer is left to train on: all prompts have `max_length` {limit} tokens or more")
    num_truncated = sum(limit is not None and pair.num_tokens > limit for pair in has_room)
    return EncodedPairs(tuple(has_room), num_truncated, len(encoded) - len(has_room))


def _encode(tokenizer: Any, pair: Pair) -> EncodedPair:
    """Encode both conversations whole; an answer begins where it differs from the prompt alone.

    Source: trl/trainer/dpo_trainer.py, `_prepare_dataset`.
    """
    if isinstance(pair.prompt, str):
        ends = ("", _ended(str(pair.chosen), tokenizer.eos_token), _ended(str(pair.rejected), tokenizer.eos_token))
        prompt, chosen, rejected = (tokenizer(pair.prompt + end)["input_ids"] for end in ends)
    elif tokenizer.chat_template is None:
        raise DataFailure(f"{pair.origin}: the tokenizer has no chat template for messages; name one, or use texts")
    else:
        prompt = _templated(tokenizer, pair.prompt, add_generation_prompt=True)
        chosen = _templated(tokenizer, [*pair.prompt, *pair.chosen])
        rejected = _templated(tokenizer, [*pair.prompt, *pair.rejected])
    start = min(_num_common(prompt, chosen), _num_common(prompt, rejected))
    return EncodedPair(prompt[:start], chosen[start:], rejected[start:])


def _ended(answer: str, eos: str) -> str:
    return answer if answer.endswith(eos) else answer + eos


def _num_common(ids: list[int], others: list[int]) -> int:
    """Count the tokens of two sequences' common prefix."""
    return next((place for place, (one, other) in enumerate(zip(ids, others, strict=False)) if one != other),
                min(len(ids), len(others)))  # fmt: skip


def _templated(tokenizer: Any, messages: list[Any], *, add_generation_prompt: bool = False) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
    )
    return list(encoded["input_ids"])
