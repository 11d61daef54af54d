"""One order of rows, and one epoch, for however many processes.

Rows without loss fill the last batches of an epoch, where accelerate repeats rows: one that is learned twice makes
several processes train something else than one that accumulates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard  # type: ignore[import-untyped]  # untyped
from torch.utils.data import Dataset, Sampler

from kaitoc.runtime.data.encode import IGNORED


class FilledRows(Dataset[dict[str, Any]]):
    """Rows, and behind the last of them one that carries no loss: `rows[len(rows)]`."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self._filler = _without_loss(rows[0])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._filler if index == len(self._rows) else self._rows[index]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


class FilledSampler(Sampler[int]):
    """The places of another sampler, and that of the filler until their number is a multiple."""

    def __init__(self, places: Any, filler: int, multiple: int) -> None:
        self._places = places
        self._filler = filler
        self._num_fillers = -len(places) % multiple

    def __len__(self) -> int:
        return len(self._places) + self._num_fillers

    def __iter__(self) -> Iterator[int]:
        yield from self._places
        yield from [self._filler] * self._num_fillers

    def set_epoch(self, epoch: int) -> None:
        """Have the places shuffled for an epoch."""
        if hasattr(self._places, "set_epoch"):
            self._places.set_epoch(epoch)


class SeededSampler(Sampler[int]):
    """A sampler that draws by a generator, seeded by the epoch.

    Without one it draws by the process's own random numbers, which dropout moves on: differently in each process, and
    differently in a run that is resumed.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        self._sampler.generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(self._sampler)

    def set_epoch(self, epoch: int) -> None:
        """Have the next places drawn for an epoch."""
        self._epoch = epoch


def fill_last_batches(loader: Any, num_processes: int, *, padding_free: bool) -> None:
    """Have a data loader over `FilledRows` that accelerate prepared end with fillers in every process.

    Where rows are put behind each other, `without_fillers` finds none, so they are left out before.

    accelerate has each process take every `num_processes`-th batch (`BatchSamplerShard`), and repeats rows only where
    their number is no multiple. Batches that one process hands out are left to it, and
    with `dataloader_drop_last` no process gets a batch that the others do not.
    """
    shard = loader.batch_sampler
    if not isinstance(shard, BatchSamplerShard) or shard.drop_last:
        return
    batches: Any = shard.batch_sampler
    rows_a_round = batches.batch_size * (1 if shard.split_batches else num_processes)
    batches.sampler = FilledSampler(batches.sampler, len(loader.dataset), rows_a_round)
    if padding_free:
        loader.collate_fn = RowsAlone(loader.collate_fn)


class RowsAlone:
    """A collator that leaves fillers out of a batch which has rows."""

    def __init__(self, collator: Any) -> None:
        self._collator = collator

    def __call__(self, examples: Sequence[dict[str, Any]]) -> Any:
        """Return the batch of some examples."""
        rows = [example for example in examples if any(label != IGNORED for label in example["labels"])]
        return self._collator(rows or examples[:1])


def without_fillers(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a padded batch without the fillers behind its rows, unless there is nothing else in it."""
    labels = batch["labels"]
    num_rows = int((labels != IGNORED).any(dim=1).sum())
    if num_rows in (0, len(labels)):
        return batch
    return {name: value[:num_rows] if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def _without_loss(row: dict[str, Any]) -> dict[str, Any]:
    """Return the first tokens of a row without loss, as few as have a next one; of a pair, without answers."""
    if "prompt_ids" in row:
        return {"prompt_ids": (row["prompt_ids"] + row["chosen_ids"])[:2], "chosen_ids": [], "rejected_ids": []}
    ids: Sequence[int] = row["input_ids"][:2]
    lengths = {"seq_lengths": [len(ids)]} if "seq_lengths" in row else {}
    return {"input_ids": ids, "labels": [IGNORED] * len(ids), **lengths}
