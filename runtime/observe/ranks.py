"""Numbers of all processes of a run, brought together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def of_all_ranks(numbers: Sequence[float | None], device: torch.device | str) -> list[tuple[float | None, ...]]:
    """Return for each number its values in all processes, by rank; None is a number that a process does not know.

    Every process has to call it. `device` is where the processes' backend takes tensors: NCCL takes a GPU's alone.
    """
    if not torch.distributed.is_initialized():
        return [(number,) for number in numbers]
    mine = torch.tensor(
        [math.nan if number is None else number for number in numbers], dtype=torch.float64, device=device
    )
    ranks = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(ranks, mine)
    return [
        tuple(None if math.isnan(value) else value for value in values)
        for values in zip(*(rank.tolist() for rank in ranks), strict=True)
    ]


def total(values: Sequence[float | None]) -> float:
    """Sum the known values of all ranks; None counts as 0."""
    return sum(value for value in values if value is not None)


def largest(values: Sequence[float | None]) -> int | None:
    """Return the largest number of bytes that is known, None when none is."""
    known = [int(value) for value in values if value is not None]
    return max(known, default=None)


def largest_batch(num_sequences: Sequence[float | None], lengths: Sequence[float | None]) -> tuple[int, int]:
    """Return the batch of most tokens among those of all processes, as (sequences, padded length)."""
    batches = [(int(rows or 0), int(length or 0)) for rows, length in zip(num_sequences, lengths, strict=True)]
    return max(batches, key=lambda batch: batch[0] * batch[1])


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known, None when none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
