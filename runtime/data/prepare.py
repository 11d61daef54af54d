"""From rows to the tokenized data set that is trained on, and what there is to say about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import pyarrow
from datasets import Dataset

from kaitoc.compiler.plan.plan import DataPlan
from kaitoc.runtime.data.encode import IGNORED, Encoder, Example
from kaitoc.runtime.data.examples import Row
from kaitoc.runtime.data.workers import BATCH_ROWS, batches_made
from kaitoc.runtime.failures import DataFailure, PlanFailure

_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Removed:
    """What a chat template leaves out of conversations: texts of one key of turns, and the first row that had one."""

    key: str
    num_texts: int
    num_rows: int
    origin: str

    def describe(self) -> str:
        """Describe the texts that are not trained, for the log before training."""
        rows = f"{self.num_rows} row{'s' if self.num_rows > 1 else ''}"
        texts = f"{self.num_texts} text{'s' if self.num_texts > 1 else ''}"
        return f"the chat template drops `{self.key}` ({texts} in {rows}, the first: {self.origin})"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples; how many were cut, and how many of those had nothing left to learn; the lengths before cutting."""

    examples: Dataset
    num_truncated: int
    num_emptied: int
    lengths_tokens: list[int]
    removed: tuple[Removed, ...] = ()

    def percentile_tokens(self, share: float) -> int:
        """Return the length that a share of the sequences does not exceed."""
        ordered = sorted(self.lengths_tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def longest_tokens(self, data: DataPlan) -> int:
        """Return the length of the longest sequence of a batch: as cut, or what is packed to."""
        if data.packing and data.max_length is not None:
            return data.max_length
        limit = _limit(data)
        longest = max(self.lengths_tokens)
        return longest if limit is None else min(limit, longest)

    def describe(self, max_length: int | None) -> str:
        """Return the lengths in words, for the log before training."""
        shares = ", ".join(f"p{round(100 * share)} {self.percentile_tokens(share)}" for share in _SHARES)
        text = f"{len(self.examples)} examples; tokens per example: {shares}, max {max(self.lengths_tokens)}"
        if self.num_truncated:
            text += f"; {self.num_truncated} cut to {max_length}"
        text += f", {self.num_emptied} of them left out: no answer was left" if self.num_emptied else ""
        return "; ".join((text, *(removed.describe() for removed in self.removed)))


def total_removed(rows: Iterable[tuple[str, Counter[str]]]) -> tuple[Removed, ...]:
    """Add up what templates left out, of each row its origin and the texts by key."""
    removed: dict[str, Removed] = {}
    for origin, texts in rows:
        for key, count in texts.items():
            removed[key] = _sum(removed.get(key), Removed(key, count, 1, origin))
    return tuple(removed.values())


def prepare(tokenizer: Any, rows: Sequence[Row], data: DataPlan, num_workers: int | None = 1) -> Prepared:
    """Tokenize rows as a plan says, in several processes where that is asked for; None is as many as pay off.

    Raises `DataFailure` when no token is left to learn or a template refuses a row, `ModelFailure` without a chat
    template, `PlanFailure` for packing without a length. A packer that splits long
    sequences gets them whole; one that would drop what is too long is spared it, so that it is counted.
    """
    if data.packing and data.max_length is None:
        raise PlanFailure("`packing` fills sequences up to `max_length`, which is not set")
    job = _Job(Encoder(tokenizer, data), rows, _limit(data), data.truncation_mode)
    merged = _Merged()
    with batches_made(job, len(rows), num_workers) as batches:
        for batch in batches:
            merged.add(batch)
    if not merged.num_examples:
        raise DataFailure(
            f"nothing is left to learn in {len(rows)} rows: within {_limit(data)} tokens no answer begins; "
            "raise `max_length` or set `truncation_mode: keep_end`"
        )
    return merged.prepared()


def _limit(data: DataPlan) -> int | None:
    """Return the length that rows are cut to here."""
    is_split_by_packer = data.packing and data.packing_strategy != "bfd"
    return None if is_split_by_packer else data.max_length


@dataclass(frozen=True, slots=True)
class _Batch:
    """The examples of some rows, as arrays that travel between processes at little cost."""

    ids: Any
    labels: Any
    kept_lengths: Any
    lengths: list[int]
    num_truncated: int
    removed: dict[str, Removed]


@dataclass(frozen=True, slots=True)
class _Job:
    """What the processes that tokenize have in common."""

    encoder: Encoder
    rows: Sequence[Row]
    limit: int | None
    truncation_mode: str

    def __call__(self, start: int) -> _Batch:
        rows = self.rows[start : start + BATCH_ROWS]
        encoded = self.encoder(rows)
        lengths = [len(example.input_ids) for example in encoded.examples]
        cut = [self._truncated(example) for example in encoded.examples]
        kept = [example for example in cut if any(label != IGNORED for label in example.labels[1:])]
        removed = {
            one.key: one
            for one in total_removed((row.origin, texts) for row, texts in zip(rows, encoded.removed, strict=True))
        }
        return _Batch(
            _flat([example.input_ids for example in kept]),
            _flat([example.labels for example in kept]),
            numpy.array([len(example.input_ids) for example in kept], dtype=numpy.int64),
            lengths,
            sum(self.limit is not None and length > self.limit for length in lengths),
            removed,
        )

    def _truncated(self, example: Example) -> Example:
        if self.limit is None or len(example.input_ids) <= self.limit:
            return example
        window = slice(self.limit) if self.truncation_mode == "keep_start" else slice(-self.limit, None)
        return Example(example.input_ids[window], example.labels[window])


@dataclass(slots=True)
class _Merged:
    """The batches of a data set so far."""

    tables: list[pyarrow.Table] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    num_truncated: int = 0
    num_examples: int = 0
    removed: dict[str, Removed] = field(default_factory=dict)

    def add(self, batch: _Batch) -> None:
        offsets = numpy.concatenate(([0], numpy.cumsum(batch.kept_lengths)))
        columns = [
            pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), pyarrow.array(values))
            for values in (batch.ids, batch.labels)
        ]
        self.tables.append(pyarrow.Table.from_arrays(columns, names=["input_ids", "labels"]))
        self.num_examples += len(batch.kept_lengths)
        self.num_truncated += batch.num_truncated
        self.lengths += batch.lengths
        for key, removed in batch.removed.items():
            self.removed[key] = _sum(self.removed.get(key), removed)

    def prepared(self) -> Prepared:
        return Prepared(
            Dataset(pyarrow.concat_tables(self.tables)),
            self.num_truncated,
            len(self.lengths) - self.num_examples,
            self.lengths,
            tuple(self.removed.values()),
        )


def _sum(first: Removed | None, second: Removed) -> Removed:
    if first is None:
        return second
    return Removed(
        first.key, first.num_texts + second.num_texts, first.num_rows + second.num_rows, first.origin
    )  # fmt: skip


def _flat(lists: Sequence[list[int]]) -> Any:
    arrays = [numpy.array(values, dtype=numpy.int32) for values in lists]
    return numpy.concatenate(arrays) if arrays else numpy.zeros(0, dtype=numpy.int32)
