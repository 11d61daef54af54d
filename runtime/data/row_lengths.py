"""The tokens of each row of a data set, which batches of a run are drawn from."""

from __future__ import annotations

import pyarrow.compute
from datasets import Dataset

MOST_ROWS = 20_000
"""A run's memory shows in a few hundred batches; of more rows as many are taken, evenly over all of them."""
_ROWS_AT_ONCE = 1_000


def row_lengths(dataset: Dataset, longest_tokens: int) -> list[int]:
    """Return the tokens of the rows; where there are more than are taken, one of the longest is among them."""
    every = max(1, len(dataset) // MOST_ROWS)
    rows = dataset.select(range(0, len(dataset), every)).select_columns("input_ids").with_format("arrow")
    lengths: list[int] = []
    for batch in rows.iter(_ROWS_AT_ONCE):
        lengths += pyarrow.compute.list_value_length(batch["input_ids"]).to_pylist()
    return [*lengths, longest_tokens] if every > 1 else lengths
