"""Score what several GPUs add to a step against the multi-GPU runs of fms-acceleration.

`python tests/bench/throughput/several_gpus.py CHECKOUT` reads the reference runs from the history of a checkout of
https://github.com/foundation-model-stack/fms-acceleration, pairs runs on two and four GPUs with the one on a single GPU
of the same settings and commit, and prints by method how far predicted ratios of their step times are off, beside what
constants would be, and how many runs the interval covers. What each run trains is known by its memory
(`tests/bench/memory/data`). Exits 1 when a bar is missed: the median error of every method within 5 %, and below that
of "as fast as on one GPU".
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

from measured import read_measured

from kaitoc.compiler.catalog.gpus import Gpu
from kaitoc.compiler.memory.sharing import SharingRequest, sharding_for
from kaitoc.compiler.memory.stacks import find_stack
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Quantization, Workload

DATA = Path(__file__).parents[1] / "memory" / "data"
REFERENCES = "scripts/benchmarks/refs"
SETTINGS = ("framework_config", "model_name_or_path", "peft_method", "bf16", "fp16", "torch_dtype", "lora_dropout", "r")
NUM_MANY = (2, 4)
MAX_MEDIAN_ERROR = 0.05

MEASURED = {(2, "LoRA"): 1.052, (2, "QLoRA"): 1.022, (2, "full"): 1.045,
            (4, "LoRA"): 1.043, (4, "QLoRA"): 1.018, (4, "full"): 1.024}  # fmt: skip
"""Median ratios that this script finds in the history up to 876e2ed (2026-01-30), for where there is no checkout."""

Setting = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long a step is predicted to take as on one GPU, and between which bounds."""

    likely: float
    fastest: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A run on several GPUs beside one on a single GPU with the same batch on each: how many times as long it took."""

    num_gpus: int
    method: str
    is_prepared: bool
    trained: str
    measured: float
    predicted: Ratio

    @property
    def error(self) -> float:
        """Return the prediction's relative error."""
        return self.predicted.likely / self.measured - 1.0

    @property
    def is_covered(self) -> bool:
        """Whether the interval covers what was measured."""
        return self.predicted.fastest <= self.measured <= self.predicted.slowest

    def is_like(self, other: Pair) -> bool:
        """Whether both ran on as many GPUs by the same method."""
        return (self.num_gpus, self.method) == (other.num_gpus, other.method)

    def error_of(self, constant: float) -> float:
        """Return the relative error of a constant."""
        return constant / self.measured - 1.0


def reference_runs(checkout: Path) -> Iterator[tuple[Setting, dict[str, str]]]:
    """Yield every run that a commit of the checkout has added, under its file, commit and settings."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=False).stdout

    known = set()
    for path in git("ls-tree", "-r", "--name-only", "HEAD", REFERENCES).split():
        if not path.endswith(".csv"):
            continue
        for commit in reversed(git("log", "--format=%h", "--", path).split()):
            for row in csv.DictReader(io.StringIO(git("show", f"{commit}:{path}"))):
                values = tuple(sorted((key, value) for key, value in row.items() if key and value))
                if row.get("train_steps_per_second") and values not in known:
                    known.add(values)
                    batch = str(int(float(row["per_device_train_batch_size"])))
                    yield (path, commit, batch, *(row.get(name) or "" for name in SETTINGS)), row


def single_runs() -> dict[int, tuple[Workload, Gpu]]:
    """Return what the runs on one GPU trained, by the peak of their memory."""
    rows = [row for folder in (DATA, DATA / "sharded") for row in read_measured(folder)]
    return {
        row.allocated_bytes: (row.workload, row.gpu)
        for row in rows
        if row.workload.num_gpus == 1 and row.allocated_bytes is not None and row.source == "fms-acceleration"
    }


def pairs(checkout: Path) -> list[Pair]:
    """Return the runs on several GPUs that have one on a single GPU whose workload is known."""
    workloads = single_runs()
    alone: dict[Setting, list[dict[str, str]]] = defaultdict(list)
    several: list[tuple[Setting, dict[str, str]]] = []
    for setting, row in reference_runs(checkout):
        if int(row["num_gpus"]) in NUM_MANY:
            several.append((setting, row))
        else:
            alone[setting].append(row)
    found = []
    for setting, row in several:
        singles = [one for one in alone[setting] if _allocated_bytes(one) in workloads]
        if singles:
            workload, gpu = workloads[_allocated_bytes(singles[0])]
            num_gpus = int(row["num_gpus"])
            measured = step_seconds(row) / statistics.median(map(step_seconds, singles))
            predicted = predicted_ratio(workload, gpu, num_gpus)
            trained = f"{workload.architecture.name}, batch {workload.batch_size}"
            found.append(Pair(num_gpus, method_of(workload), workload.kbit_prep, trained, measured, predicted))
    return found


def _allocated_bytes(row: dict[str, str]) -> int:
    return int(float(row.get("mem_peak_torch_mem_alloc_in_bytes") or 0))


def step_seconds(row: dict[str, str]) -> float:
    """Return the time of a step; runs had a round number of steps, but few digits of their rate are written."""
    seconds = float(row["train_runtime"])
    return seconds / (10 * round(seconds * float(row["train_steps_per_second"]) / 10))


def method_of(workload: Workload) -> str:
    """Return how the weights are trained."""
    if workload.lora is None:
        return "full"
    return "LoRA" if workload.quantization is Quantization.NONE else "QLoRA"


@cache
def predicted_ratio(workload: Workload, gpu: Gpu, num_gpus: int) -> Ratio:
    """Return the ratio of a step to one of a single GPU, shared as their accelerate.yaml says."""
    sharding = sharding_for(SharingRequest("fsdp1"), find_stack(workload.stack))
    shared = replace(workload, num_gpus=num_gpus, sharding=replace(sharding, prefetches_backward=True))
    speed, alone = throughput(shared, gpu), throughput(workload, gpu).step_seconds
    fastest, slowest = (
        speed.tokens_per_step / tokens_per_second / alone
        for tokens_per_second in (speed.high_tokens_per_second, speed.low_tokens_per_second)
    )
    return Ratio(speed.step_seconds / alone, fastest, slowest)


def table(found: list[Pair]) -> tuple[list[str], bool]:
    """Return a Markdown table by number of GPUs and method, and whether every method is within the bars.

    Beside the constant 1 stand two that no run sees itself in: the median of all other methods and numbers of GPUs, and
    that of the method's runs with another model or batch. `prepare_model_for_kbit_training` runs on one GPU alone,
    which makes QLoRA slower there than on several.
    """
    lines = [
        "| GPUs | method | runs | covered | measured | predicted | error"
        " | of 1 | of other methods' | of its other jobs' |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    passed = True
    for num_gpus, method in sorted({(pair.num_gpus, pair.method) for pair in found}):
        chosen = [pair for pair in found if (pair.num_gpus, pair.method) == (num_gpus, method)]
        line, error, of_one = _row(f"| {num_gpus} | {method}", chosen, found)
        lines.append(line)
        passed = passed and error <= min(MAX_MEDIAN_ERROR, of_one)
        prepared = [pair for pair in chosen if pair.is_prepared]
        if prepared:
            lines.append(_row("| | &nbsp; prepared on one GPU", prepared, found)[0])
    means = [statistics.mean(column) for column in _errors(found, found)]
    num_covered = sum(pair.is_covered for pair in found)
    errors = " | ".join(f"{value:.1%}" for value in means)
    lines.append(f"| | all, mean error | {len(found)} | {num_covered} | | | {errors} |")
    return lines, passed


def _row(name: str, chosen: list[Pair], found: list[Pair]) -> tuple[str, float, float]:
    """Return a row of the table, the median error and that of the constant 1."""
    errors = [statistics.median(column) for column in _errors(chosen, found)]
    measured = statistics.median(pair.measured for pair in chosen)
    predicted = statistics.median(pair.predicted.likely for pair in chosen)
    values = f"{measured:.3f} | {predicted:.3f} | {' | '.join(f'{error:.1%}' for error in errors)}"
    num_covered = sum(pair.is_covered for pair in chosen)
    return f"{name} | {len(chosen)} | {num_covered} | {values} |", errors[0], errors[1]


def _errors(chosen: list[Pair], found: list[Pair]) -> list[list[float]]:
    """Return the sizes of the errors of the prediction, of 1, and of the two constants."""
    return [
        [abs(pair.error) for pair in chosen],
        [abs(pair.error_of(1.0)) for pair in chosen],
        [abs(pair.error_of(_median(one for one in found if not one.is_like(pair)))) for pair in chosen],
        [
            abs(pair.error_of(_median(one for one in found if one.is_like(pair) and one.trained != pair.trained)))
            for pair in chosen
        ],
    ]


def _median(pairs: Iterable[Pair]) -> float:
    return statistics.median(pair.measured for pair in pairs)


def main() -> int:
    """Print the scores."""
    parser = argparse.ArgumentParser(description="Score what several GPUs add to a step against fms-acceleration.")
    parser.add_argument("checkout", type=Path, help="a checkout of fms-acceleration with its history")
    lines, passed = table(pairs(parser.parse_args().checkout))
    print("\n".join(lines))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
