"""Replays of batches that differ in length against the trace's own log of the same batches, in many ways.

Usage: python tests/bench/memory/varying.py [SEEDS] [WORDS]
       python tests/bench/memory/varying.py --random NUMBER SEED
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from statistics import mean

from varying_ways import Way, combined_ways, random_ways

from kaitoc.compiler.memory.closed_form.replay import replay_batches
from kaitoc.compiler.memory.trace.run import trace_batches

TOLERANCE = 0.03


def _ways(arguments: list[str]) -> Iterator[Way]:
    if arguments[:1] == ["--random"]:
        return random_ways(int(arguments[1]), int(arguments[2]))
    return combined_ways(int(arguments[0]) if arguments else 2, *arguments[1:2])


def main() -> int:
    """Print every error, the mean and the worst."""
    warnings.simplefilter("ignore")
    errors: list[tuple[float, str]] = []
    for name, step, shapes, steps in _ways(sys.argv[1:]):
        logged, replayed = (run(step, shapes, accumulation_steps=steps) for run in (trace_batches, replay_batches))
        reserved = replayed.reserved_bytes / logged.reserved_bytes - 1
        allocated = replayed.allocated_bytes / logged.allocated_bytes - 1
        errors.append((reserved, name))
        print(f"{name}: allocated {allocated:+.2%}, reserved {reserved:+.2%}", flush=True)
    sizes = [abs(error) for error, _ in errors]
    worst, where = max(errors, key=lambda one: abs(one[0]))
    within = sum(size <= TOLERANCE for size in sizes)
    print(f"{len(sizes)} runs: reserved {mean(sizes):.2%} off on average, {within} within {TOLERANCE:.0%}")
    print(f"worst {worst:+.1%}: {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
