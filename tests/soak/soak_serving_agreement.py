"""Hold check, estimate and compile to each other on servers drawn at random.

Usage: python tests/soak/soak_serving_agreement.py [DRAWN] [FIRST_SEED]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compile"))

from serving_agreement import disagreements

FIRST_SEED = 1000
"""The test suite draws those before it."""


def main() -> int:
    num_drawn = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    first = int(sys.argv[2]) if len(sys.argv) > 2 else FIRST_SEED
    start, num_faults = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + num_drawn):
            for fault in disagreements(seed, Path(folder)):
                num_faults += 1
                print(fault)
    print(f"{num_drawn} servers, {num_faults} disagreements, {time.perf_counter() - start:.0f} s")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
