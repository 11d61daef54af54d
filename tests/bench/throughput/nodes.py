"""Score jobs of 8 to 512 GPUs against public runs on nodes of eight.

`python tests/bench/throughput/nodes.py` prints how far the tokens per second of each GPU are off, by kind of GPU and
length, and how far the share that is left of them is when the same job runs on more GPUs, beside what a constant would
be; `--rows` every run too. Exits 1 when the shares are not within 2 % at the median and nearer than the constant 1.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.gpus import find_gpu, find_instance_type
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.sharding.model import Sharding, ShardingKind, Wrap
from kaitoc.compiler.memory.throughput.speed import throughput
from kaitoc.compiler.memory.workload import Attention, Dtype, Optimizer, Workload

DATA = Path(__file__).parent / "data" / "nodes"
NODE_GPUS = 8
NUM_WORDS = 50_368
SHORT_TOKENS = 2_048
"""On longer rows attention decides, which these runs did with the first FlashAttention (1.0.3 and 1.0.9 in the
repository's `setup.py` of the time)."""
MAX_MEDIAN_ERROR = 0.02

NODES = {
    "A100-40GB": "Standard_ND96asr_A100_v4",
    "A100-80GB": "Standard_ND96amsr_A100_v4",
    "H100-80GB": "Standard_ND96isr_H100_v5",
}
"""Instance types with as many GPUs and links as fast as the runs had."""

Job = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A public run; speeds in tokens per second of one GPU."""

    job: Job
    gpu: str
    num_gpus: int
    seq_len_tokens: int
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Return the prediction's relative error."""
        return self.predicted / self.measured - 1.0


@dataclass(frozen=True, slots=True)
class Growth:
    """The share of each GPU's speed that is left when a job runs on more of them."""

    few: Run
    many: Run

    @property
    def measured(self) -> float:
        """Return the share that was measured."""
        return self.many.measured / self.few.measured

    @property
    def error(self) -> float:
        """Return the relative error of the predicted share."""
        return self.many.predicted / self.few.predicted / self.measured - 1.0


@cache
def read_runs(folder: Path = DATA) -> tuple[Run, ...]:
    """Read every run of a folder and predict it."""
    runs = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            runs += [_run(row) for row in csv.DictReader(line for line in file if not line.startswith("#"))]
    return tuple(runs)


def _run(row: dict[str, str]) -> Run:
    gpu = find_gpu(row["gpu"])
    assert gpu is not None
    predicted = throughput(
        _workload(row),
        gpu,
        accumulation_steps=int(row["accumulation_steps"]),
        instance=find_instance_type(NODES[gpu.name]),
    )
    job = ("model", "seq_len_tokens", "batch_size", "accumulation_steps", "sharding", "checkpointing")
    return Run(
        (gpu.name, *(row[key] for key in job)),
        gpu.name,
        int(row["num_gpus"]),
        int(row["seq_len_tokens"]),
        float(row["tokens_per_second_per_gpu"]),
        predicted.tokens_per_second / int(row["num_gpus"]),
    )


def _workload(row: dict[str, str]) -> Workload:
    num_gpus = int(row["num_gpus"])
    return Workload(
        architecture=_architecture(row),
        lora=None,
        batch_size=int(row["batch_size"]),
        seq_len_tokens=int(row["seq_len_tokens"]),
        stack="transformers-5",
        dtype=Dtype.FLOAT32,
        autocast=Dtype.BFLOAT16,
        gradient_checkpointing=row["checkpointing"] == "1",
        attention=Attention.FLASH,
        optimizer=Optimizer.ADAMW,
        num_gpus=num_gpus,
        sharding=Sharding(
            ShardingKind.FSDP1,
            num_nodes=max(1, num_gpus // NODE_GPUS),
            reshard_after_forward=row["sharding"] == "full_shard",
            wrap=Wrap.ROOT,
        ),
    )


def _architecture(row: dict[str, str]) -> Architecture:
    """Return MPT as GPT-2, whose layers it has: learned positions, biases, fused projections, a tied head."""
    config = {
        "model_type": "gpt2",
        "n_layer": int(row["num_layers"]),
        "n_embd": int(row["hidden_size"]),
        "n_head": int(row["num_heads"]),
        "n_positions": int(row["seq_len_tokens"]),
        "vocab_size": NUM_WORDS,
        "activation_function": "gelu",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": True,
    }
    architecture = from_config(row["model"], config)
    assert architecture.num_parameters == int(row["num_parameters"])
    return architecture


def growths(runs: Sequence[Run]) -> Iterator[Growth]:
    """Yield runs of one job in pairs, each with the next larger number of GPUs."""
    by_job: dict[Job, list[Run]] = defaultdict(list)
    for run in runs:
        by_job[run.job].append(run)
    for same in by_job.values():
        for few, many in pairwise(sorted(same, key=lambda run: run.num_gpus)):
            yield Growth(few, many)


def speeds_table(runs: Sequence[Run]) -> list[str]:
    """Return the errors of speeds by kind of GPU and length."""
    lines = ["| GPU | tokens | runs | median error | mean | worst |", "|---|---|---:|---:|---:|---:|"]
    for gpu in NODES:
        for name, is_short in ((f"up to {SHORT_TOKENS:,}", True), ("more", False)):
            errors = [r.error for r in runs if r.gpu == gpu and (r.seq_len_tokens <= SHORT_TOKENS) is is_short]
            lines.append(
                f"| {gpu} | {name} | {len(errors)} | {statistics.median(map(abs, errors)):.1%} | "
                f"{statistics.mean(errors):+.1%} | {max(errors, key=abs):+.1%} |"
            )
    return lines


def growths_table(pairs: Sequence[Growth]) -> list[str]:
    """Return the errors of shares by kind of GPU."""
    lines = [
        "| GPU | pairs | share left | error | of 1 | within 2% |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in (*NODES, "all"):
        some = [pair for pair in pairs if name in (pair.few.gpu, "all")]
        if some:
            errors = [abs(pair.error) for pair in some]
            lines.append(
                f"| {name} | {len(some)} | {statistics.median(pair.measured for pair in some):.3f} | "
                f"{statistics.median(errors):.1%} | {_error_of_one(some):.1%} | "
                f"{sum(error <= MAX_MEDIAN_ERROR for error in errors)} |"
            )
    return lines


def _error_of_one(pairs: Sequence[Growth]) -> float:
    return statistics.median(abs(1.0 / pair.measured - 1.0) for pair in pairs)


def passes(pairs: Sequence[Growth]) -> bool:
    """Whether the shares meet the bar."""
    error = statistics.median(abs(pair.error) for pair in pairs)
    return error <= MAX_MEDIAN_ERROR and error < _error_of_one(pairs)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="store_true", help="print every run")
    runs = read_runs()
    if parser.parse_args().rows:
        for run in runs:
            name = f"{' '.join(run.job)} x{run.num_gpus}"
            print(f"{run.error:+7.1%} {run.predicted:9,.0f} {run.measured:9,.0f}  {name}")
    pairs = list(growths(runs))
    print("\n".join((*speeds_table(runs), "", *growths_table(pairs))))
    return 0 if passes(pairs) else 1


if __name__ == "__main__":
    sys.exit(main())
