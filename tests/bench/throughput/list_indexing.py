"""Time what indexing by Python lists costs the host, as Mixtral of transformers before 4.40 does for every expert.

`python tests/bench/throughput/list_indexing.py` prints nanoseconds per row and expert: two lists made of the indices
(`MixtralSparseMoeBlock.forward`: `top_x.tolist()`, `idx.tolist()`), and three tensors made of them again, less what the
same indexing takes with tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

NUM_TOKENS, NUM_ROWS, NUM_RUNS = 16384, 4096, 60


def fastest_seconds(run: Callable[[], object]) -> float:
    """Return the shortest of many runs."""
    seconds = []
    for _ in range(NUM_RUNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main() -> None:
    """Print the costs."""
    torch.set_num_threads(1)
    hidden, weights = torch.zeros(NUM_TOKENS, 1), torch.zeros(NUM_TOKENS, 2)
    rows = torch.randperm(NUM_TOKENS)[:NUM_ROWS].sort().values
    places = torch.randint(0, 2, (NUM_ROWS,))
    row_list, place_list = rows.tolist(), places.tolist()
    made = fastest_seconds(lambda: (rows.tolist(), places.tolist()))
    by_list = fastest_seconds(lambda: (hidden[None, row_list], weights[row_list, place_list, None]))
    by_tensor = fastest_seconds(lambda: (hidden[None, rows], weights[rows, places, None]))
    for name, seconds in (("lists", made), ("tensors", by_list - by_tensor), ("all", made + by_list - by_tensor)):
        print(f"{name}: {1e9 * seconds / NUM_ROWS:.0f} ns a row")


if __name__ == "__main__":
    main()
