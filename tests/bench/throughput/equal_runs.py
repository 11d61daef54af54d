"""Compare equal runs of fms-acceleration that differ in one thing, for what it adds to a step on one and on two GPUs.

`python tests/bench/throughput/equal_runs.py CHECKOUT` reads the reference runs of May and June 2024 from the history of
a checkout of https://github.com/foundation-model-stack/fms-acceleration. The runs of f1895b7 have 30 steps, all others
100: a second that a run takes once is 1/43 s more in each of 30 steps than in each of 100. The runs of 8af8fa7 are the
only ones without the Trainer's memory metrics (their file has no such column), whose thread reads the memory of the
process without a pause.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from several_gpus import reference_runs, step_seconds

FEW_STEPS, NO_METRICS, USUAL = "f1895b7", "8af8fa7", ("8103238", "00febdc")
MAX_SECONDS = 20.0
"""Steps that take longer, of Llama 2 70B, have no room for what is looked for: they vary by a second."""

Job = tuple[str, ...]


def jobs(checkout: Path) -> dict[Job, dict[str, float]]:
    """Return the seconds of a step by commit, of every job."""
    found: dict[Job, dict[str, float]] = defaultdict(dict)
    for (_, commit, batch, *_), row in reference_runs(checkout):
        if commit in (FEW_STEPS, NO_METRICS, *USUAL):
            method = row.get("peft_method") or "full"
            units = "adapters" if method == "lora" else "full"
            job = (row["num_gpus"], batch, units, row["model_name_or_path"], row.get("framework_config") or "")
            found[job][commit] = step_seconds(row)
    return found


def differences(runs: Iterable[dict[str, float]], commit: str, sign: int) -> list[float]:
    """Return by how much runs of a commit differ from the usual ones of the same job."""
    return [
        sign * (seconds[commit] - statistics.mean(seconds[usual] for usual in USUAL))
        for seconds in runs
        if {commit, *USUAL} <= set(seconds) and seconds[commit] < MAX_SECONDS
    ]


def main() -> None:
    """Print medians by number of GPUs, batch on each and what is trained."""
    parser = argparse.ArgumentParser(description="Compare equal runs of fms-acceleration that differ in one thing.")
    parser.add_argument("checkout", type=Path, help="a checkout of fms-acceleration with its history")
    groups: dict[Job, list[dict[str, float]]] = defaultdict(list)
    for job, seconds in jobs(parser.parse_args().checkout).items():
        groups[job[:3]].append(seconds)
    print("| GPUs | batch | trained | s of a step more with 30 steps | with memory metrics |")
    print("|---:|---:|---|---:|---:|")
    for group, runs in sorted(groups.items()):
        cells = []
        for commit, sign in ((FEW_STEPS, 1), (NO_METRICS, -1)):
            values = differences(runs, commit, sign)
            cells.append(f"{statistics.median(values):+.2f} ({len(values)})" if values else "")
        print(f"| {' | '.join((*group, *cells))} |")


if __name__ == "__main__":
    main()
