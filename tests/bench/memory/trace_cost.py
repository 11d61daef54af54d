"""Measure what a trace costs: seconds of one step and the memory of a fresh process, each model in its own.

`python tests/bench/memory/trace_cost.py` prints a table of three repetitions; the bars are 3 s and 2 GiB for
Llama-3.2-3B and 10 s for a model of 70 billion parameters.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

MODELS = ("llama-3.2-3b", "llama-3.3-70b-instruct")
NUM_REPETITIONS = 3
KIB = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took: the first trace with the imports' leftovers, a second one, and its resident peak."""

    import_seconds: float
    first_seconds: float
    again_seconds: float
    resident_bytes: int


def main() -> None:
    """Print the table; with a model's name, measure it in this process and print JSON."""
    if len(sys.argv) > 1:
        print(json.dumps(_measured(sys.argv[1])))
        return
    print("| model | import | first trace | next trace | peak resident |")
    print("|---|---|---|---|---|")
    for name in MODELS:
        costs = [_cost(name) for _ in range(NUM_REPETITIONS)]
        seconds = [
            statistics.median(values)
            for values in zip(
                *((one.import_seconds, one.first_seconds, one.again_seconds) for one in costs), strict=True
            )
        ]
        resident_gib = max(one.resident_bytes for one in costs) / 2**30
        print(f"| {name} | " + " | ".join(f"{value:.2f} s" for value in seconds) + f" | {resident_gib:.2f} GiB |")


def _cost(name: str) -> Cost:
    run = subprocess.run([sys.executable, "-W", "ignore", __file__, name], capture_output=True, text=True, check=True)
    return Cost(**json.loads(run.stdout.splitlines()[-1]))


def _measured(name: str) -> dict[str, float]:
    start = time.perf_counter()
    from kaitoc.compiler.catalog.models import find_model
    from kaitoc.compiler.memory.trace.run import trace
    from kaitoc.compiler.memory.workload import Lora, Workload

    model = find_model(name)
    if model is None:
        raise SystemExit(f"no model `{name}` in the catalog")
    workload = Workload(architecture=model, lora=Lora(), batch_size=1, seq_len_tokens=4096, stack="transformers-5")
    marks = [start, time.perf_counter()]
    for _ in range(2):
        trace(workload)
        marks.append(time.perf_counter())
    imported, first, again = (after - before for before, after in pairwise(marks))
    resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    return {
        "import_seconds": imported,
        "first_seconds": first,
        "again_seconds": again,
        "resident_bytes": resident_bytes,
    }


if __name__ == "__main__":
    main()
