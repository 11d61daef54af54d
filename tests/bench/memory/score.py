"""Score the memory engine against measured fine-tunes, the trace, and the estimators a user could install instead.

`python tests/bench/memory/score.py` prints the tables; `--write` puts them into `docs/memory.md`. The environment
variable `DATA` names a folder of further measured sets. `--peers PYTHON` is the interpreter of an environment that
holds the other estimators; without it one is made under `build/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kernels import kernel_table
from measured import Measured, read_measured
from phases import phase_table

from kaitoc.compiler.core.source import write_atomically
from kaitoc.compiler.memory.closed_form.footprint import footprint, verdict
from kaitoc.compiler.memory.result import Footprint, Verdict
from kaitoc.compiler.memory.workload import Attention, Dtype, Quantization

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- scores: begin -->", "<!-- scores: end -->"
PEER_PACKAGES = (
    "fitcheck-llm==0.3.1",
    "llm-analysis==0.2.2",
    "ftuneai==0.4.1",
    "canifinetune==0.4.1",
    "hf-vram-calc==1.0.9",
)
PEER_DEPENDENCIES = (
    "click", "huggingface-hub<1", "rich", "pyyaml", "fire", "typer", "pydantic", "jinja2", "platformdirs", "accelerate",
    "transformers>=4.50,<5", "torch", "scipy",
)  # fmt: skip
DEFAULT_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Error:
    """A prediction's relative error on one measured quantity."""

    share: float
    row: Measured

    @property
    def name(self) -> str:
        """Return the row in a few words."""
        workload = self.row.workload
        method = (
            "full" if workload.lora is None else "QLoRA" if workload.quantization is not Quantization.NONE else "LoRA"
        )
        prepared = " prepared" if workload.kbit_prep else ""
        where = f"B={workload.batch_size} {workload.stack}"
        return f"{workload.architecture.name} {method}{prepared} {workload.dtype.value} {where}"


def main() -> int:
    """Print or write the tables; exit 1 when a run that ran out of memory was called fitting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/memory.md")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment with the other estimators")
    parser.add_argument("--no-peers", action="store_true", help="leave the other estimators out")
    arguments = parser.parse_args()
    rows = read_measured(HERE / "data")
    if os.environ.get("DATA"):
        rows += read_measured(Path(os.environ["DATA"]))
    predictions = [footprint(row.workload, row.gpu) for row in rows]
    sections = [_accuracy_table(rows, predictions), _verdict_line(rows, predictions), phase_table(), kernel_table()]
    if not arguments.no_peers:
        sections.append(_peer_table(rows, predictions, arguments.peers))
    text = "\n\n".join(sections)
    print(text)
    if arguments.write:
        _write(text)
    return 1 if _wrongly_fitting(rows, predictions) else 0


def _accuracy_table(rows: list[Measured], predictions: list[Footprint]) -> str:
    """Return mean and worst absolute error per source, stack and quantity."""
    errors: dict[tuple[str, str, str], list[Error]] = defaultdict(list)
    for row, prediction in zip(rows, predictions, strict=True):
        for quantity, measured, predicted in (
            ("allocated", row.allocated_bytes, prediction.allocated_bytes),
            ("reserved", row.reserved_bytes, prediction.reserved_bytes),
            ("device", row.device_bytes, prediction.device_bytes),
        ):
            if measured:
                for stack in (row.workload.stack, "all"):
                    errors[row.source, stack, quantity].append(Error(predicted / measured - 1.0, row))
    lines = ["| source | stack | quantity | rows | mean | worst | worst row |", "|---|---|---|---|---|---|---|"]
    for (source, stack, quantity), found in sorted(errors.items()):
        worst = max(found, key=lambda error: abs(error.share))
        mean = sum(abs(error.share) for error in found) / len(found)
        lines.append(
            f"| {source} | {stack} | {quantity} | {len(found)} | {mean:.1%} | {worst.share:+.1%} | {worst.name} |"
        )
    return "\n".join(lines)


def _wrongly_fitting(rows: list[Measured], predictions: list[Footprint]) -> list[Measured]:
    """Return rows called fitting that ran out of memory or measured above the device's memory."""
    return [
        row
        for row, prediction in zip(rows, predictions, strict=True)
        if verdict(prediction, row.gpu, DEFAULT_MARGIN) is Verdict.FITS
        and (row.out_of_memory or (row.device_bytes or 0) > row.gpu.memory_bytes)
    ]


def _verdict_line(rows: list[Measured], predictions: list[Footprint]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for row, prediction in zip(rows, predictions, strict=True):
        counts[verdict(prediction, row.gpu, DEFAULT_MARGIN).value] += 1
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    wrong = len(_wrongly_fitting(rows, predictions))
    return f"Verdicts at a margin of {DEFAULT_MARGIN:.0%}: {verdicts}. Called fitting although they did not: {wrong}."


def _peer_table(rows: list[Measured], predictions: list[Footprint], python: str | None) -> str:
    """Return every estimator's error on the device total where it was measured, else on what was allocated."""
    scored = [
        (row, found) for row, found in zip(rows, predictions, strict=True) if row.device_bytes or row.allocated_bytes
    ]
    request = json.dumps([_plain(row) for row, _ in scored])
    run = subprocess.run(  # our own script and interpreter
        [python or _peer_environment(), str(HERE / "peers.py")],
        input=request,
        capture_output=True,
        text=True,
        check=True,
    )
    answers: dict[str, list[float | None]] = json.loads(run.stdout)
    ours = [float(found.device_bytes if row.device_bytes else found.allocated_bytes) for row, found in scored]
    lines = ["| estimator | rows answered | mean | worst |", "|---|---|---|---|"]
    for name, values in [("**kaitoc**", ours), *answers.items()]:
        errors = [
            value / (row.device_bytes or row.allocated_bytes or 1) - 1.0
            for value, (row, _) in zip(values, scored, strict=True)
            if value is not None
        ]
        if not errors:
            lines.append(f"| {name} | 0 of {len(scored)} | - | - |")
            continue
        mean, worst = sum(map(abs, errors)) / len(errors), max(errors, key=abs)
        lines.append(f"| {name} | {len(errors)} of {len(scored)} | {mean:.1%} | {worst:+.1%} |")
    return "\n".join(lines)


def _plain(row: Measured) -> dict[str, object]:
    """Return a row as plain data for `peers.py`."""
    workload, architecture = row.workload, row.workload.architecture
    lora = workload.lora
    return {
        "model": architecture.name,
        "config": dict(architecture.config),
        "num_parameters": architecture.num_parameters,
        "hidden": architecture.hidden_size,
        "intermediate": architecture.intermediate_size,
        "layers": architecture.num_layers,
        "heads": architecture.num_heads,
        "kv_heads": architecture.num_kv_heads,
        "head_dim": architecture.head_dim,
        "vocab": architecture.vocab_size,
        "tied": architecture.tied_embeddings,
        "num_experts": architecture.num_experts,
        "dtype": workload.dtype.value,
        "precision": {Dtype.FLOAT32: "fp32", Dtype.FLOAT16: "fp16", Dtype.BFLOAT16: "bf16"}[workload.dtype],
        "quantization": workload.quantization.value,
        "double_quant": workload.double_quant,
        "batch": workload.batch_size,
        "seq_len": workload.seq_len_tokens,
        "rank": lora.rank if lora else None,
        "targets": [name for name in lora.targets if name != "c_attn"] if lora else [],
        "checkpointing": workload.gradient_checkpointing,
        "flash": workload.attention is Attention.FLASH,
    }


def _peer_environment() -> str:
    """Make an environment with the other estimators under `build/`, once; return its interpreter."""
    folder = ROOT / "build" / "memory-peers"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for packages in (PEER_DEPENDENCIES, ("--no-deps", *PEER_PACKAGES)):
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "ready").touch()
    return str(python)


def _write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_atomically(PAGE, f"{before}{BEGIN}\n{text}\n{END}{after}".encode())


if __name__ == "__main__":
    sys.exit(main())
