"""Hold the search to brute force on many more jobs than the test suite does.

Usage: python tests/soak/soak_search.py [JOBS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compile"))

from test_search import brute_force, found_for


def main() -> int:
    """Search for each job in both ways; return 1 when any differs."""
    num_jobs, start = int(sys.argv[1]) if len(sys.argv) > 1 else 200, time.perf_counter()
    differing = [seed for seed in range(num_jobs) if (found := found_for(seed)).fitting() != brute_force(found)]
    print(f"{num_jobs} jobs, {time.perf_counter() - start:.0f} s, differing: {differing or 'none'}")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
