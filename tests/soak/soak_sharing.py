"""Ask estimate, compile, dry run and preflight of many random jobs of several GPUs; they must give one answer.

Half as many random manifests are judged by check and estimate, and by what a run of them would be.

Usage: python tests/soak/soak_sharing.py [JOBS]
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

from sharing_cases import disagreement, disagreement_on, random_jobs, random_manifests


def main() -> int:
    """Judge each job in all ways; return 1 when any two differ."""
    num_jobs, start = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000, time.perf_counter()
    told = Counter(disagreement(plan, gpu) for plan, gpu in random_jobs(2_000, num_jobs))
    told.update(disagreement_on(text, stated) for text, stated in random_manifests(2_000, num_jobs // 2))
    agreed = told.pop("", 0)
    seconds = time.perf_counter() - start
    print(f"{num_jobs} jobs and {num_jobs // 2} manifests in {seconds:.0f} s, {agreed} agreed, differing: {dict(told)}")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
