"""Times the search on the suite's random jobs, in CPU time: `python tests/bench/search/bench_search.py`.

Every search starts with nothing derived, as the first one of a process does; of three rounds the fastest counts.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from kaitoc.compiler.catalog import linear_modules
from kaitoc.compiler.memory.closed_form import footprint, model, plan, reserve, step_script
from kaitoc.compiler.memory.throughput import work

sys.path.insert(0, str(Path(__file__).parents[2] / "compile"))

from test_search import found_for

NUM_JOBS = 200
LIMIT_SECONDS = 0.1
NUM_ROUNDS = 3


def forget() -> None:
    """Drop what earlier searches derived."""
    for module in (footprint, model, plan, reserve, step_script, linear_modules, work):
        for member in vars(module).values():
            if hasattr(member, "cache_clear"):
                member.cache_clear()


def seconds_of(seed: int) -> float:
    """Return the CPU time of one job's search."""
    found = found_for(seed)
    forget()
    start = time.process_time()
    found.best()
    return time.process_time() - start


if __name__ == "__main__":
    seconds = sorted(min(seconds_of(seed) for _ in range(NUM_ROUNDS)) for seed in range(NUM_JOBS))
    slow = sum(one > LIMIT_SECONDS for one in seconds)
    print(
        f"{NUM_JOBS} jobs: mean {statistics.mean(seconds) * 1000:.0f} ms, 99th percentile "
        f"{seconds[int(0.99 * NUM_JOBS) - 1] * 1000:.0f} ms, worst {seconds[-1] * 1000:.0f} ms, "
        f"{slow} above {LIMIT_SECONDS * 1000:.0f} ms"
    )
