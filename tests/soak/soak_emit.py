"""Emit manifests for 500 generated jobs and hold them to every recorded CRD with its CEL rules, to names and bytes.

Usage: python tests/soak/soak_emit.py [NUM_JOBS [SEED]]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engines"))

from emit_cases import cases
from test_emit import check_emitted, check_rules

NUM_JOBS = 500
SEED = 1


def soak() -> int:
    num_jobs, seed = _numbers()
    num_rules = 0
    for number, case in enumerate(cases(num_jobs, seed)):
        try:
            check_emitted(case)
            num_rules += check_rules(case)
        except Exception:
            print(f"job {number} of seed {seed}: {case}")
            raise
    print(f"{num_jobs} jobs emitted, {num_rules} CEL rules evaluated")
    return 0


def _numbers() -> tuple[int, int]:
    given = [int(value) for value in sys.argv[1:3]]
    num_jobs, seed = [*given, *(NUM_JOBS, SEED)[len(given) :]]
    return num_jobs, seed


if __name__ == "__main__":
    sys.exit(soak())
