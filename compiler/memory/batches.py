"""The shapes of the batches that a trainer draws from rows of different lengths."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from enum import Enum

from kaitoc.compiler.core.errors import KaitocError
from kaitoc.compiler.core.records import dataclass
from kaitoc.compiler.memory.batch_shape import BatchShape

NUM_BATCHES = 200
"""How many batches are drawn unless said otherwise."""

_PACKED_ROWS = 1000
"""Rows that are packed together: the default batch of `datasets.Dataset.map`, which TRL's `pack_dataset` runs in."""

_MOST_MEGABATCHES = 50
_MEGABATCHES_PER_EPOCH = 4
"""`get_length_grouped_indices` (`transformers/trainer_pt_utils.py`)."""


class LengthsError(KaitocError, ValueError):
    """Lengths that no data can have; `str(error)` is for the user."""


class Batching(str, Enum):
    """How rows come together in a batch: at random, with rows of about their length, or several in one row."""

    RANDOM = "random"
    GROUPED = "grouped"
    PACKED = "packed"


@dataclass(frozen=True, slots=True)
class Loading:
    """How a trainer makes batches of its data; `pad_to_multiple_of` rounds their lengths up."""

    batching: Batching = Batching.RANDOM
    accumulation_steps: int = 1
    pad_to_multiple_of: int = 1


@dataclass(frozen=True, slots=True)
class Lengths:
    """The tokens of each row of a data set, in ascending order and at most `cap_tokens`, which cuts longer ones."""

    tokens: tuple[int, ...]
    cap_tokens: int

    def percentile(self, share: float) -> int:
        """Return the length that a share of the rows does not exceed."""
        return self.tokens[max(0, math.ceil(share * len(self.tokens)) - 1)]

    @property
    def longest(self) -> int:
        """Return the length of the longest row."""
        return self.tokens[-1]


def measured_lengths(tokens: Sequence[int], cap_tokens: int) -> Lengths:
    """Return the lengths of real rows; raises `LengthsError` where there are none."""
    if not tokens:
        raise LengthsError("the data has no rows")
    return Lengths(tuple(sorted(max(1, min(number, cap_tokens)) for number in tokens)), cap_tokens)


def parse_lengths(text: str) -> tuple[int, int, int]:
    """Return the p50, p90 and maximum that `--lengths` names; raises `LengthsError` for what no data can have."""
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise LengthsError(
            f"--lengths takes p50,p90,max in tokens, such as 300,800,2048, or `cap` for any up to where rows are cut, "
            f"not `{text}`"
        )
    p50, p90, longest = map(int, numbers)
    if p50 < 1:
        raise LengthsError(f"--lengths: p50 must be at least 1 token, not {p50}")
    if not p50 <= p90 <= longest:
        raise LengthsError(f"--lengths: p50, p90 and max must not decrease: {p50:,}, {p90:,}, {longest:,}")
    return p50, p90, longest


def assumed_lengths(p50: int, p90: int, longest: int, cap_tokens: int, num_rows: int) -> Lengths:
    """Return rows with these percentiles: log-logistic up to p90, from there on evenly on a log scale to the longest.

    Raises `LengthsError` for a maximum that the cap would cut.
    """
    if longest > cap_tokens:
        raise LengthsError(
            f"--lengths: max {longest:,} exceeds the {cap_tokens:,} tokens at which sequences are truncated"
        )
    spread = math.log(p90 / p50) / math.log(9)
    tokens = []
    for row in range(num_rows):
        share = (row + 1) / num_rows
        if share <= 0.9:
            value = p50 * (share / (1 - share)) ** spread
        else:
            value = p90 * (longest / p90) ** ((share - 0.9) / 0.1)
        tokens.append(max(1, min(longest, round(value))))
    return Lengths((*tokens[:-1], longest), cap_tokens)


def even_lengths(cap_tokens: int, num_rows: int) -> Lengths:
    """Return rows of every length up to the cap alike."""
    return Lengths(tuple(-(-cap_tokens * (row + 1) // num_rows) for row in range(num_rows)), cap_tokens)


def batches(
    lengths: Lengths, loading: Loading, batch_size: int, seed: int, num_batches: int = NUM_BATCHES
) -> list[BatchShape]:
    """Return the first batches of a run, epoch after epoch, each padded to its longest row.

    Of data with more rows than are drawn the longest is among them, as it comes some time in an epoch.
    """
    batching = loading.batching
    generator = random.Random(seed)  # noqa: S311  # an order of rows, no secret
    rows = list(lengths.tokens)
    num_rows = num_batches * batch_size
    if batching is Batching.PACKED:
        rows = _packed(rows, lengths.cap_tokens)
    elif len(rows) > num_rows:
        rows = [*generator.sample(rows[:-1], num_rows - 1), rows[-1]]
    shapes: list[BatchShape] = []
    while len(shapes) < num_batches:
        generator.shuffle(rows)
        drawn = _grouped(rows, batch_size) if batching is Batching.GROUPED else rows
        shapes += _padded(drawn, batch_size, loading.pad_to_multiple_of)
    return shapes[:num_batches]


def _padded(rows: Sequence[int], batch_size: int, multiple: int) -> Iterator[BatchShape]:
    """Yield an epoch's batches, the last with what is left of the rows."""
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        yield BatchShape(len(batch), -(-max(batch) // multiple) * multiple)


def _grouped(rows: Sequence[int], batch_size: int) -> list[int]:
    """Sort shuffled rows by length within megabatches; the batch with the longest comes first.

    After `get_length_grouped_indices` of transformers.
    """
    most = min(len(rows) // (batch_size * _MEGABATCHES_PER_EPOCH), _MOST_MEGABATCHES)
    size = max(1, most) * batch_size
    groups = [sorted(rows[start : start + size], reverse=True) for start in range(0, len(rows), size)]
    longest = max(range(len(groups)), key=lambda index: groups[index][0])
    groups[0][0], groups[longest][0] = groups[longest][0], groups[0][0]
    return [row for group in groups for row in group]


def _packed(rows: Sequence[int], cap_tokens: int) -> list[int]:
    """Fill rows of the cap's size by best fit, the longest first (`_pack_bfd` of TRL's `data_utils.py`)."""
    filled: list[int] = []
    shuffled = list(rows)
    random.Random(0).shuffle(shuffled)  # noqa: S311  # as above
    for start in range(0, len(shuffled), _PACKED_ROWS):
        free: list[int] = []
        for length in sorted(shuffled[start : start + _PACKED_ROWS], reverse=True):
            index = bisect_left(free, length)
            room = free.pop(index) if index < len(free) else cap_tokens
            insort(free, room - length)
        filled += [cap_tokens - room for room in free]
    return filled
