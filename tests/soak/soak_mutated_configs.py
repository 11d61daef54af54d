"""Hold `kaitoc check` to the model of Kaito's parser on many more mutated configs than the test suite does.

Usage: python tests/soak/soak_mutated_configs.py [CONFIGS_PER_RELEASE] [SEED]
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rules"))

from mutated_configs import RELEASES, mutated
from test_mutated_configs import disagreement


def main() -> int:
    num_configs = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    seed = sys.argv[2] if len(sys.argv) > 2 else "soak"
    num_wrong, start = 0, time.perf_counter()
    for release in RELEASES:
        draw = random.Random(f"{seed} {release}")
        for _ in range(num_configs):
            found = disagreement(mutated(draw), release)
            num_wrong += bool(found)
            if found:
                print(found)
    print(f"{num_configs * len(RELEASES)} configs, {num_wrong} disagree, {time.perf_counter() - start:.0f} s")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
