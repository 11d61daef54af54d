"""Ask of many random steps on shards whether more GPUs, or larger groups, ever need more memory on each.

Usage: python tests/soak/soak_shards.py [STEPS] [SEED]
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

from shard_cases import grown, random_pairs


def main() -> int:
    """Compare each step with one on more GPUs; return 1 when any of them needs more than padding explains."""
    number, seed = (int(text) for text in (*sys.argv[1:], *("2000", "19")[len(sys.argv) - 1 :]))
    start, found = time.perf_counter(), Counter[str]()
    for few, many in random_pairs(seed, number):
        part = grown(few, many)
        found[part] += 1
        if part:
            print(f"{part}: {few}\n  and on {many.num_gpus} GPUs with {many.sharding}")
    held = found.pop("", 0)
    print(f"{number} steps in {time.perf_counter() - start:.0f} s, {held} need no more, others: {dict(found)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
