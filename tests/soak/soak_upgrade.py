"""Hold `kaitoc upgrade` to two checks and to the values in effect on random configs, for every pair of releases.

Usage: python tests/soak/soak_upgrade.py [CONFIGS] [SEED]
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "check"))

from upgrade_cases import PAIRS, disagreements, random_config


def main() -> int:
    num_configs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    draw = random.Random(sys.argv[2] if len(sys.argv) > 2 else "soak")
    num_wrong, start = 0, time.perf_counter()
    for _ in range(num_configs):
        text = random_config(draw)
        for pair in PAIRS:
            for found in disagreements(text, *pair):
                num_wrong += 1
                print(*pair, found, text.split("training_config:\n", 1)[1], sep="\n", flush=True)
    print(f"{num_configs} configs x {len(PAIRS)} pairs, {num_wrong} disagree, {time.perf_counter() - start:.0f} s")
    return 1 if num_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
