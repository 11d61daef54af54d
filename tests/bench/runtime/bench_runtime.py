"""Times the runtime beside a plain trl and peft script, and packing beside padding, on this machine's CPU.

Usage: python tests/bench/runtime/bench_runtime.py [--rounds N]

Each measurement is a process of its own; the two kinds take turns, and the medians are compared. Times are those of the
process on its one core, so that other work on the machine does not count. The model is the demo's, 4 layers of 192 with
a vocabulary of about 1,000, in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

SEED = 0
NUM_ROWS = 600
NUM_STEPS = 40
MAX_LENGTH = 256
BATCH_SIZE = 4
WORDS = (
    "rule", "key", "value", "pod", "node", "gpu", "batch", "loss", "rank", "adapter", "manifest", "config", "map",
    "check", "fits", "memory", "token", "step",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One process: tokens of text per CPU second of training, CPU seconds to the first step, peak resident bytes."""

    tokens_per_second: float
    first_step_seconds: float
    peak_bytes: int


def write_model(folder: Path) -> None:
    """Write the demo's model, untrained."""
    import build_tiny_model

    tokenizer = build_tiny_model.build_tokenizer()
    build_tiny_model.build_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_rows(path: Path) -> None:
    """Write prompts with completions of mixed lengths: most are short, some are long."""
    chance = random.Random(SEED)
    lines = []
    for _ in range(NUM_ROWS):
        num_words = chance.choice([6, 8, 10, 12, 16, 24, 40, 120])
        words = " ".join(chance.choices(WORDS, k=num_words))
        lines.append(json.dumps({"prompt": "Say: ", "completion": words}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(kind: str, folder: Path) -> Measured:
    """Run one kind in a process and watch it."""
    output = folder / f"output-{kind}"
    subprocess.run(["rm", "-rf", str(output)], check=True)
    command = [sys.executable, __file__, "--child", kind, str(folder), str(output)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        first = 0.0
        while process.poll() is None:
            if not first and (output / "metrics.jsonl").exists():
                first = cpu_seconds(process.pid)
            time.sleep(0.005)
    if process.returncode:
        sys.exit((folder / "log.txt").read_text())
    told = json.loads((output / "measured.json").read_text())
    return Measured(told["num_tokens"] / told["seconds"], first, told["peak_bytes"])


def cpu_seconds(process: int) -> float:
    """Return the time that a process has computed (Linux, `/proc/PID/stat`: utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child(kind: str, folder: Path, output: Path) -> None:
    """Train, as a plain script or as the runtime, and write down what it took."""
    import resource

    time.perf_counter = time.process_time  # by which both kinds time their training
    seconds, num_tokens = reference(folder, output) if kind == "reference" else runtime(kind, folder, output)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"seconds": seconds, "num_tokens": num_tokens, "peak_bytes": peak_bytes}
    (output / "measured.json").write_text(json.dumps(told))


def reference(folder: Path, output: Path) -> tuple[float, int]:
    """Train with the plain script."""
    import reference_sft
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Notes when training began, and its first log as the runtime does."""

        began = ended = 0.0
        num_tokens = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            output.mkdir(exist_ok=True)
            with (output / "metrics.jsonl").open("a") as stream:
                stream.write(json.dumps(logs) + "\n")
            self.num_tokens = int(logs.get("num_tokens", self.num_tokens))

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.ended = time.perf_counter()

    watch = Watch()
    reference_sft.MAX_LENGTH = MAX_LENGTH
    reference_sft.train(
        folder / "model", folder / "rows.jsonl", output, quantized=False, checkpointing=False, callbacks=[watch],
        max_steps=NUM_STEPS, per_device_train_batch_size=BATCH_SIZE, gradient_accumulation_steps=1,
    )  # fmt: skip
    return watch.ended - watch.began, watch.num_tokens


def runtime(kind: str, folder: Path, output: Path) -> tuple[float, int]:
    """Train with the bundled runtime, padding or packing."""
    import reference_sft

    from kaitoc.compiler.plan.plan import DataPlan, LoraPlan, ModelPlan, OutputPlan, Plan, Provenance, TrainingPlan
    from kaitoc.runtime.launch.ready import RunOptions
    from kaitoc.runtime.launch.run import run_plan

    packing = kind == "packing"
    steps = {"max_steps": -1, "num_train_epochs": 1} if kind != "runtime" else {"max_steps": NUM_STEPS}
    report = run_plan(
        Plan(
            name="bench",
            model=ModelPlan(path=str(folder / "model"), dtype="float32"),
            lora=LoraPlan(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=tuple(reference_sft.TARGETS)),
            data=DataPlan(
                paths=(str(folder / "rows.jsonl"),), shuffle=False, max_length=MAX_LENGTH, packing=packing
            ),
            training=TrainingPlan(
                **{
                    **reference_sft.ARGUMENTS, **steps, "gradient_checkpointing": False,
                    "per_device_train_batch_size": 1 if packing else BATCH_SIZE, "gradient_accumulation_steps": 1,
                }
            ),
            output=OutputPlan(path=str(output)),
            provenance=Provenance(kaitoc_version="bench"),
        ),
        RunOptions("cpu", show_progress=False),
    )  # fmt: skip
    return report.seconds, round(report.tokens_per_second * report.seconds)


def compare(one: str, other: str, rounds: int, folder: Path) -> tuple[list[Measured], list[Measured]]:
    """Measure two kinds in turns."""
    found: dict[str, list[Measured]] = {one: [], other: []}
    for index in range(rounds):
        for kind in (one, other) if index % 2 else (other, one):
            found[kind].append(measure(kind, folder))
    return found[one], found[other]


def median(values: list[Measured], name: str) -> float:
    """The median of one measure."""
    return statistics.median(getattr(value, name) for value in values)


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, metavar=("KIND", "FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, folder, output = arguments.child
        child(kind, Path(folder), Path(output))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model")
        write_rows(folder / "rows.jsonl")
        plain, ours = compare("reference", "runtime", arguments.rounds, folder)
        padding, packing = compare("padding", "packing", arguments.rounds, folder)
    speeds = [median(kind, "tokens_per_second") for kind in (plain, ours, padding, packing)]
    firsts = [median(kind, "first_step_seconds") for kind in (plain, ours)]
    peaks = [median(kind, "peak_bytes") / (1 << 20) for kind in (plain, ours)]
    print(f"median of {arguments.rounds}         plain script    runtime")
    print(f"tokens per CPU second  {speeds[0]:8.0f}   {speeds[1]:8.0f}   {speeds[1] / speeds[0]:.3f} x (bar: >= 0.99)")
    print(f"CPU s to the 1st step  {firsts[0]:8.2f}   {firsts[1]:8.2f}   {firsts[1] - firsts[0]:+.2f} s (bar: < +1)")
    print(f"peak resident, MiB     {peaks[0]:8.0f}   {peaks[1]:8.0f}   {peaks[1] / peaks[0]:.3f} x (bar: <= 1)")
    print("                            padding    packing")
    print(f"tokens per CPU second  {speeds[2]:8.0f}   {speeds[3]:8.0f}   {speeds[3] / speeds[2]:.2f} x (bar: >= 1.8)")


if __name__ == "__main__":
    main()
