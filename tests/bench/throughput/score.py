"""Score the throughput model against measured fine-tunes.

`python tests/bench/throughput/score.py` prints the tables, `--rows` every run as well; `--write` puts them into
`docs/throughput.md`. The environment variable `DATA` names a folder of further sets in the same form. Exits 1 when a
bar is missed: rank correlation 0.9, median error 20 % and worst error 15 % for each source.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from kaitoc.compiler.catalog.gpus import Gpu, find_gpu
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Attention, Dtype, Lora, Optimizer, Quantization, Workload

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "throughput.md"
BEGIN, END = "<!-- scores: begin -->", "<!-- scores: end -->"
MIN_RANK_CORRELATION = 0.9
MAX_MEDIAN_ERROR = 0.2
MAX_WORST_ERROR = 0.15
NUM_TIMED_CALLS = 2000


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run and what the model is asked."""

    source: str
    set_name: str
    method: str
    workload: Workload
    gpu: Gpu
    tokens_per_second: float
    predicted: float

    @property
    def error(self) -> float:
        """Return the prediction's relative error."""
        return self.predicted / self.tokens_per_second - 1.0

    @property
    def name(self) -> str:
        """Return the run in a few words."""
        prepared = " prepared" if self.workload.kbit_prep else ""
        name = self.workload.architecture.name
        return f"{self.set_name} {name} {self.method}{prepared} x{self.workload.batch_size}"


def read_runs(folder: Path) -> list[Run]:
    """Read every csv file of a folder; raises `ValueError` naming file and line of a row that is not understood."""
    runs = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    runs.append(_run(row))
                except (KeyError, ValueError) as error:
                    raise ValueError(f"{path}:{number}: {error}") from error
    return runs


def _run(row: dict[str, str]) -> Run:
    architecture, gpu = find_model(row["model"]), find_gpu(row["gpu"])
    if architecture is None or gpu is None:
        raise ValueError(f"unknown model {row['model']!r} or GPU {row['gpu']!r}")
    quantization = Quantization(row["quantization"])
    workload = Workload(
        architecture=architecture,
        lora=_lora(row),
        batch_size=int(row["batch_size"]),
        seq_len_tokens=int(row["seq_len_tokens"]),
        stack=row["stack"],
        quantization=quantization,
        double_quant=quantization is not Quantization.NONE,
        kbit_prep=row["prepared"] == "1",
        dtype=Dtype(row["dtype"]),
        autocast=Dtype(row["autocast"]) if row["autocast"] else None,
        gradient_checkpointing=row["checkpointing"] == "1",
        attention=Attention(row["attention"]),
        optimizer=Optimizer(row["optimizer"]),
    )
    predicted = throughput(workload, gpu).tokens_per_second * float(row["real_share"])
    measured = float(row["tokens_per_second"])
    return Run(row["source"], row["set"], row["method"], workload, gpu, measured, predicted)


def _lora(row: dict[str, str]) -> Lora | None:
    if not row["lora_rank"]:
        return None
    return Lora(
        rank=int(row["lora_rank"]),
        dropout=float(row["lora_dropout"]),
        targets=tuple(row["targets"].split()),
        dora=row["method"] == "dora",
        dtype=Dtype(row["adapter_dtype"]) if row["adapter_dtype"] else None,
    )


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Return Spearman's rank correlation, ties sharing their mean rank; NaN below two different values."""
    try:
        return statistics.correlation(_ranks(left), _ranks(right))
    except statistics.StatisticsError:
        return float("nan")


def _ranks(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def summary(runs: list[Run]) -> tuple[list[str], bool]:
    """Return a Markdown table with a row per source and one per set, and whether every source is within the bars."""
    lines = [
        "| source | runs | rank correlation | median error | mean | worst run |",
        "|---|---:|---:|---:|---:|---|",
    ]
    passed = True
    for source in dict.fromkeys(run.source for run in runs):
        chosen = [run for run in runs if run.source == source]
        correlation, error = _scores(chosen)
        worst = max(abs(run.error) for run in chosen)
        passed = passed and correlation >= MIN_RANK_CORRELATION and error <= MAX_MEDIAN_ERROR
        passed = passed and worst <= MAX_WORST_ERROR
        lines.append(_line(f"**{source}**", chosen))
        sets = dict.fromkeys(run.set_name for run in chosen)
        if len(sets) > 1:
            lines += [_line(f"&nbsp; {name}", [run for run in chosen if run.set_name == name]) for name in sets]
    return lines, passed


def _scores(runs: list[Run]) -> tuple[float, float]:
    correlation = rank_correlation([run.tokens_per_second for run in runs], [run.predicted for run in runs])
    return correlation, statistics.median(abs(run.error) for run in runs)


def _line(name: str, runs: list[Run]) -> str:
    correlation, error = _scores(runs)
    mean = statistics.mean(run.error for run in runs)
    worst = max(runs, key=lambda run: abs(run.error))
    label = f"{worst.name} {worst.error:+.0%}"
    return f"| {name} | {len(runs)} | {correlation:.3f} | {error:.1%} | {mean:+.1%} | {label} |"


def details(runs: list[Run]) -> list[str]:
    """Return a Markdown table of every run."""
    lines = ["| run | GPU | measured | predicted | error |", "|---|---|---:|---:|---:|"]
    for run in runs:
        numbers = f"{run.tokens_per_second:,.0f} | {run.predicted:,.0f} | {run.error:+.1%}"
        lines.append(f"| {run.name} | {run.gpu.name} | {numbers} |")
    return lines


def microseconds_per_call(run: Run) -> float:
    """Return the time of one prediction once its derivation is kept, for lengths that were not asked before."""
    length = run.workload.seq_len_tokens
    asked = [replace(run.workload, seq_len_tokens=1 + number % length) for number in range(NUM_TIMED_CALLS)]
    begin = time.perf_counter()
    for workload in asked:
        throughput(workload, run.gpu)
    return (time.perf_counter() - begin) / NUM_TIMED_CALLS * 1e6


def main() -> int:
    """Print or write the scores."""
    parser = argparse.ArgumentParser(description="Score the throughput model against measured fine-tunes.")
    parser.add_argument("--rows", action="store_true", help="print every run")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/throughput.md")
    options = parser.parse_args()
    runs = read_runs(HERE / "data")
    lines, passed = summary(runs)
    if not options.write and os.environ.get("DATA"):
        lines += ["", "Further sets:", "", *summary(read_runs(Path(os.environ["DATA"])))[0]]
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        table = "\n".join([*lines, "", "Every run:", "", *details(runs)])
        write_atomically(PAGE, f"{before}{BEGIN}\n{table}\n{END}{after}".encode())
    print("\n".join(lines))
    if options.rows:
        print("\n".join(["", *details(runs)]))
    print(f"\n{microseconds_per_call(runs[0]):.0f} microseconds per call")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
