"""Times the search on the suite's random jobs: `python tests/bench/search/bench_search.py`."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "compile"))

from test_search import NUM_JOBS, found_for

if __name__ == "__main__":
    seconds = []
    for seed in range(NUM_JOBS):
        found = found_for(seed)
        start = time.process_time()
        found.best()
        seconds.append(time.process_time() - start)
    slow = sum(one > 0.1 for one in seconds)
    print(f"{NUM_JOBS} jobs, mean {statistics.mean(seconds):.3f} s, worst {max(seconds):.3f} s, {slow} above 0.1 s")
