"""A trainer whose processes train and report together what one would, where an epoch ends unevenly.

Fillers stand where rows lack (`even_batches`). They carry no loss on tokens; what else is a mean over batches, of a
mixture's router or of pairs, leaves them out here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler

from kaitoc.runtime.training.even_batches import FilledRows, SeededSampler, fill_last_batches


class SeveralProcesses(Trainer):
    """Hands out an epoch's rows once, in one order, and weighs means by what they are means of."""

    weight = 1.0
    """What makes a mean over all processes' batches of a step one over those that hold rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._counts: dict[str, list[float]] = defaultdict(list)
        self._means: set[str] = set()
        super().__init__(*args, **options)

    @property
    def weighs_batches(self) -> bool:
        """Whether a loss is a mean over batches; one over the tokens of all has no use for `weight`."""
        raise NotImplementedError

    def has_rows(self, batch: dict[str, Any]) -> bool:
        """Return whether a batch holds anything besides fillers."""
        raise NotImplementedError

    def totals(self, *numbers: float | torch.Tensor) -> list[float]:
        """Return the sums of numbers over all processes, which all have to call it."""
        values = [number.detach() if isinstance(number, torch.Tensor) else number for number in numbers]
        mine = torch.tensor([float(value) for value in values], device=self.args.device)
        sums: list[float] = self.accelerator.reduce(mine, "sum").tolist()
        return sums

    def note_means(self, mode: str, count: float, means: Mapping[str, float]) -> None:
        """Put means over `count` rows or batches of all processes in place of what TRL noted of the last batch.

        At the end of an epoch TRL leaves the last processes out of what it gathers (`gather_for_metrics`).
        """
        metrics: dict[str, list[float]] = self._metrics[mode]  # type: ignore[attr-defined]  # TRL's trainers have it
        for name, mean in means.items():
            metrics[name][-1] = mean
        self._means |= means.keys()
        self._counts[mode].append(count)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log each mean over all that it was noted of; TRL would give a last batch of few rows as much weight."""
        model: Any = self.model
        mode = "train" if model.training else "eval"
        metrics: dict[str, list[float]] = self._metrics[mode]  # type: ignore[attr-defined]  # as above
        counts = self._counts.pop(mode, [])
        for name in self._means & metrics.keys():
            weighted = [value * count for value, count in zip(metrics[name], counts, strict=True)]
            metrics[name] = [sum(weighted) / max(1, sum(counts))]
        super().log(logs, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of a step; of those of several processes the last may be fillers alone."""
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        if self.accelerator.num_processes > 1 and self.weighs_batches:
            num_batches, num_with_rows = self.totals(len(batches), sum(map(self.has_rows, batches)))
            self.weight = num_batches / max(1, num_with_rows)
        return batches, num_items

    def get_train_dataloader(self) -> Any:
        """Return the batches of an epoch; several processes get as many each, and learn no row twice."""
        if self.accelerator.num_processes == 1:
            return super().get_train_dataloader()
        rows, self.train_dataset = self.train_dataset, FilledRows(self.train_dataset)
        try:
            loader = super().get_train_dataloader()
        finally:
            self.train_dataset = rows
        fill_last_batches(loader, self.accelerator.num_processes, padding_free=self._is_padding_free)
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the batches of an evaluation; several processes count no row twice.

        Fillers come last in the order of ranks, where transformers cuts the gathered losses off at the number of rows.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        if self.accelerator.num_processes == 1 or rows is None:
            return super().get_eval_dataloader(eval_dataset)
        loader = super().get_eval_dataloader(FilledRows(rows))
        fill_last_batches(loader, self.accelerator.num_processes, padding_free=self._is_padding_free)
        return loader

    @property
    def _is_padding_free(self) -> bool:
        return bool(getattr(self.data_collator, "padding_free", False))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self._drawn_alike(super()._get_train_sampler(train_dataset))

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return self._drawn_alike(super()._get_eval_sampler(eval_dataset))

    def _drawn_alike(self, sampler: Any) -> Any:
        """Return an order of rows whose groups of one length are drawn anew by epoch, alike in all processes."""
        if not isinstance(sampler, LengthGroupedSampler):
            return sampler
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        return SeededSampler(sampler, seed)


@contextmanager
def router_loss_times(model: torch.nn.Module, factor: float) -> Iterator[list[torch.Tensor]]:
    """Multiply the auxiliary loss that a mixture's forward returns; yields those losses."""
    losses: list[torch.Tensor] = []

    def scale(_module: torch.nn.Module, _arguments: Any, outputs: Any) -> None:
        loss = getattr(outputs, "aux_loss", None)
        if loss is not None:
            outputs.aux_loss = loss * factor
            losses.append(outputs.aux_loss)

    handle = model.register_forward_hook(scale)
    try:
        yield losses
    finally:
        handle.remove()
