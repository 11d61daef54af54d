"""Ask estimate, compile, dry run and preflight of many random jobs of several GPUs; they must give one answer.

Half as many random manifests are judged by check and estimate, and by what a run of them would be; as many more, which
may be wrong in any way, go through the commands as texts.

Usage: python tests/soak/soak_sharing.py [JOBS] [FIRST_SEED_OF_TEXTS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

from sharing_cases import disagreement, disagreement_on, random_jobs, random_manifests
from sharing_doors import disagreements, drawn


def main(num_jobs: int, first: int) -> int:
    """Judge each job in all ways; return 1 when any two differ."""
    start = time.perf_counter()
    told = Counter(disagreement(plan, gpu) for plan, gpu in random_jobs(2_000, num_jobs))
    told.update(disagreement_on(text, stated) for text, stated in random_manifests(2_000, num_jobs // 2))
    agreed = told.pop("", 0)
    seconds = time.perf_counter() - start
    print(f"{num_jobs} jobs and {num_jobs // 2} manifests in {seconds:.0f} s, {agreed} agreed, differing: {dict(told)}")
    num_faults = _through_all_doors(num_jobs // 2, first)
    seconds = time.perf_counter() - start - seconds
    print(f"{num_jobs // 2} texts from seed {first} in {seconds:.0f} s, {num_faults} disagreements")
    return int(bool(told) or num_faults > 0)


def _through_all_doors(number: int, first: int) -> int:
    folder, num_faults = Path(tempfile.mkdtemp()), 0
    os.chdir(folder)
    for seed in range(first, first + number):
        asked = drawn(seed)
        for fault in disagreements(asked, folder / "tune.yaml"):
            num_faults += 1
            print(f"{seed} {' '.join(asked.words)}: {fault}", flush=True)
    return num_faults


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in (sys.argv[1:] + ["2000", "1000"][len(sys.argv) - 1 :]))))
