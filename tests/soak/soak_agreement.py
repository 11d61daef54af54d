"""Ask check, estimate, compile, run --dry-run, admit and upgrade about manifests drawn at random: none may contradict.

Usage: python tests/soak/soak_agreement.py [MANIFESTS_OF_EACH_KIND] [FIRST_SEED]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from command_agreement import disagreements, drawn_serving, drawn_tuning


def main(number: int, first: int) -> int:
    start, num_faults, folder = time.perf_counter(), 0, Path(tempfile.mkdtemp())
    os.chdir(folder)
    for kind in (drawn_tuning, drawn_serving):
        for seed in range(first, first + number):
            text, release = kind(seed)
            for fault in disagreements(text, release, folder):
                num_faults += 1
                print(f"{kind.__name__}({seed}) {release}: {fault}", flush=True)
    print(f"2 x {number} manifests, {num_faults} contradictions, {time.perf_counter() - start:.0f} s")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in (sys.argv[1:] + ["200", "1"][len(sys.argv) - 1 :]))))
