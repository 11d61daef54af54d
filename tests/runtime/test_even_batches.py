"""An epoch is the same rows, each once and in one order, for however many processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from tiny_architectures import save_tiny
from torch.utils.data import BatchSampler, SequentialSampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.launch.ready import RunOptions, make_ready
from kaitoc.runtime.launch.run import build_trainer
from kaitoc.runtime.quiet import quiet_libraries
from kaitoc.runtime.training.even_batches import FilledRows, FilledSampler, RowsAlone, SeededSampler, fill_last_batches

pytestmark = pytest.mark.runtime


@given(num_rows=st.integers(1, 40), batch_size=st.integers(1, 5), num_processes=st.integers(2, 5))
def test_each_row_is_learned_once_and_every_process_has_as_many_batches(
    num_rows: int, batch_size: int, num_processes: int
) -> None:
    sampler = FilledSampler(SequentialSampler(range(num_rows)), num_rows, batch_size * num_processes)
    shards = [
        list(BatchSamplerShard(BatchSampler(sampler, batch_size, False), num_processes, process))
        for process in range(num_processes)
    ]
    places = Counter(place for shard in shards for batch in shard for place in batch)

    assert len({len(shard) for shard in shards}) == 1
    assert all(places[row] == 1 for row in range(num_rows))
    assert places.keys() <= {*range(num_rows), num_rows}
    assert sum(places.values()) < num_rows + batch_size * num_processes


@pytest.mark.parametrize(("drop_last", "num_batches"), [(False, 2), (True, 1)])
def test_rows_that_are_dropped_are_not_filled_up(drop_last: bool, num_batches: int) -> None:
    """`dataloader_drop_last` leaves out a last round in which some process has too few rows."""
    shard = BatchSamplerShard(BatchSampler(SequentialSampler(range(5)), 2, drop_last), 2, 1)

    fill_last_batches(SimpleNamespace(batch_sampler=shard, dataset=range(5)), 2, padding_free=False)

    assert len(list(shard)) == num_batches


@pytest.mark.parametrize("packed", [{}, {"seq_lengths": [[3, 2], [4]]}], ids=["rows", "packed rows"])
def test_the_row_behind_the_last_has_no_loss(packed: dict[str, Any]) -> None:
    dataset = Dataset.from_dict({"input_ids": [[5, 6, 7, 8, 9], [1, 2, 3, 4]], "labels": [[5] * 5, [1] * 4], **packed})
    rows = FilledRows(dataset)

    assert (len(rows), list(rows)) == (2, list(dataset))
    assert rows[2]["labels"] == [-100, -100]
    assert rows[2].keys() == dataset[0].keys()
    assert sum(rows[2].get("seq_lengths", [2])) == len(rows[2]["input_ids"]) == 2


def test_the_pair_behind_the_last_has_no_answers() -> None:
    pair = {"prompt_ids": [1], "chosen_ids": [2, 3], "rejected_ids": [4]}

    assert FilledRows([pair])[1] == {"prompt_ids": [1, 2], "chosen_ids": [], "rejected_ids": []}


def test_a_mixture_s_router_learns_nothing_of_fillers(
    make_plan: Callable[..., Plan], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is a mean over all tokens of a batch, and the last one of a process may hold fillers alone."""
    save_tiny("qwen3_moe", tmp_path / "mixture", tokenizer)
    plan = make_plan(model={"path": str(tmp_path / "mixture")})
    with quiet_libraries():
        trainer = build_trainer(plan, make_ready(plan, RunOptions("cpu", show_progress=False)))
    rows = FilledRows(trainer.train_dataset)
    monkeypatch.setattr(Accelerator, "num_processes", 2)

    def loss_of(*places: int, weight: float = 1.0) -> tuple[float, float]:
        trainer.weight = weight
        batch = trainer.data_collator([rows[place] for place in places])
        loss = trainer.compute_loss(trainer.model.train(), batch)
        return float(loss.detach()), trainer._metrics["train"]["aux_loss"][-1]

    alone, of_router = loss_of(0, 1)
    assert loss_of(0, 1, len(rows)) == pytest.approx((alone, of_router), abs=1e-5)
    assert loss_of(len(rows)) == (0.0, 0.0)
    share = trainer.router_aux_loss_coef * of_router
    assert share > 1e-4
    assert loss_of(0, 1, weight=2.0)[0] - alone == pytest.approx(share, rel=1e-2)


def test_rows_that_are_put_behind_each_other_are_collated_without_fillers() -> None:
    rows = FilledRows([{"input_ids": [3, 4, 5], "labels": [-100, 4, 5]}])
    collator = RowsAlone(list)

    assert collator([rows[0], rows[1], rows[1]]) == [rows[0]]
    assert collator([rows[1], rows[1]]) == [rows[1]]


def test_groups_of_one_length_are_drawn_alike_in_each_process_and_anew_in_each_epoch() -> None:
    def drawn(epoch: int) -> list[int]:
        sampler = SeededSampler(LengthGroupedSampler(2, lengths=[3, 1, 4, 1, 5, 9, 2, 6] * 4), seed=42)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
