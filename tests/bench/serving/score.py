"""Score the predicted speed of servers against measured ones.

Usage: python tests/bench/serving/score.py [--write]

`--write` puts the table into docs/throughput.md. The requests of a run arrive at a rate and are served side by side:
a token waits for the prompts that arrive meanwhile, which take their share of the time.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from kaitoc.compiler.catalog.gpus import find_gpu
from kaitoc.compiler.memory.serving.footprint import serving_footprint
from kaitoc.compiler.memory.serving.models import served_model
from kaitoc.compiler.memory.serving.speed import Passes
from kaitoc.compiler.memory.serving.workload import ServingWorkload

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "throughput.md"
_VLLM, _LENGTH_TOKENS = "0.12.0", 4096
_BEGIN, _END = "<!-- serving scores: begin -->", "<!-- serving scores: end -->"


@dataclass(frozen=True)
class Scored:
    """A measured run and what is predicted of it, in seconds per token."""

    gpu: str
    rate: float
    requests: float
    measured: float
    predicted: float

    @property
    def ratio(self) -> float:
        """Return how many times the prediction the measured server took."""
        return self.measured / self.predicted


def scored_runs() -> list[Scored]:
    """Return every run."""
    data = json.loads((HERE / "runs.json").read_text(encoding="utf-8"))
    model = served_model(data["model"])
    assert model is not None
    found = []
    for run in data["runs"]:
        gpu = find_gpu(run["gpu"])
        assert gpu is not None
        workload = ServingWorkload(model, _VLLM, max_length_tokens=_LENGTH_TOKENS)
        limits = serving_footprint(workload, gpu).limits
        passes = Passes(workload, gpu, None)
        batch = min(limits.sequences, round(run["requests_at_once"]))
        token = passes.round_seconds(batch, data["prompt_tokens"] + data["output_tokens"] // 2)
        prompts = run["answered_per_second"] * passes.prompt_seconds(data["prompt_tokens"], limits.tokens)
        found.append(
            Scored(run["gpu"], run["offered_per_second"], run["requests_at_once"], run["inter_token_seconds"],
                   token / (1 - prompts))
        )  # fmt: skip
    return found


def table(runs: list[Scored]) -> list[str]:
    """Return the scores as Markdown."""
    lines = [
        "| GPU | requests/s | at once | measured | predicted | measured / predicted |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run.gpu} | {run.rate:g} | {run.requests:.0f} | {run.measured * 1000:.1f} ms "
        f"| {run.predicted * 1000:.1f} ms | {run.ratio:.2f} |"
        for run in runs
    ]
    return [
        *lines,
        "",
        f"Median {median(run.ratio for run in runs):.2f}, from {min(run.ratio for run in runs):.2f} to "
        f"{max(run.ratio for run in runs):.2f}; {_discordant(runs)} of {_pairs(runs)} pairs of runs in the wrong "
        "order.",
    ]


def _pairs(runs: list[Scored]) -> int:
    return len(runs) * (len(runs) - 1) // 2


def _discordant(runs: list[Scored]) -> int:
    return sum(
        (one.measured - other.measured) * (one.predicted - other.predicted) < 0
        for number, one in enumerate(runs)
        for other in runs[:number]
    )


def main() -> int:
    lines = table(scored_runs())
    print("\n".join(lines))
    if "--write" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        body = "\n".join([_BEGIN, *lines, _END])
        PAGE.write_text(re.sub(f"{_BEGIN}.*{_END}", lambda _: body, page, flags=re.DOTALL), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
