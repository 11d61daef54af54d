"""The grid on which the closed form is held to the trace: every shape of the catalog, trained in every way.

`python tests/bench/memory/grid.py MODEL` traces one model and prints a JSON line per case: a process of its own bounds
memory and lets `bench_memory.py` go on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.models import all_models, find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.workload import Lora, Quantization, Workload, WorkloadError

STACK = "transformers-5"
METHODS = ("lora", "qlora", "full")
BATCH_SIZES = (1, 4)
LENGTHS = (512, 4096)


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the grid."""

    model: str
    method: str
    gradient_checkpointing: bool
    batch_size: int
    seq_len_tokens: int

    @property
    def name(self) -> str:
        """Return the case in a few words, unique in the grid."""
        checkpointing = "checkpointed" if self.gradient_checkpointing else "plain"
        return f"{self.model} {self.method} {checkpointing} B={self.batch_size} S={self.seq_len_tokens}"

    def workload(self) -> Workload:
        """Return the case as both engines take it."""
        architecture = find_model(self.model)
        if architecture is None:
            raise ValueError(f"no model `{self.model}` in the catalog")
        quantized = self.method == "qlora"
        return Workload(
            architecture=architecture,
            lora=None if self.method == "full" else Lora(),
            batch_size=self.batch_size,
            seq_len_tokens=self.seq_len_tokens,
            stack=STACK,
            quantization=Quantization.NF4 if quantized else Quantization.NONE,
            kbit_prep=quantized,
            gradient_checkpointing=self.gradient_checkpointing,
        )


def shapes() -> list[Architecture]:
    """Return one model of each shape in the catalog: names and the longest sequence change no allocation."""
    found: dict[str, Architecture] = {}
    for model in all_models():
        config = {key: value for key, value in model.config.items() if key != "max_position_embeddings"}
        key = json.dumps([model.model_type, config], sort_keys=True, default=str)
        known = found.get(key)
        if known is None or known.max_position_embeddings < model.max_position_embeddings:
            found[key] = model
    return sorted(found.values(), key=lambda model: model.num_parameters)


def cases(model: str) -> list[Case]:
    """Return the cells of one model, without those that are longer than it takes."""
    every = [
        Case(model, method, checkpointing, batch_size, tokens)
        for method in METHODS
        for checkpointing in (True, False)
        for batch_size in BATCH_SIZES
        for tokens in LENGTHS
    ]
    return [case for case in every if _exists(case)]


def fingerprint() -> str:
    """Return what a traced figure depends on: the trace's own code and the libraries that it runs."""
    from importlib.metadata import version

    folder = Path(__file__).parents[3] / "compiler" / "memory" / "trace"
    code = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        code.update(path.read_bytes())
    for package in ("torch", "transformers", "peft", "bitsandbytes"):
        code.update(version(package).encode())
    return code.hexdigest()[:12]


def _exists(case: Case) -> bool:
    try:
        footprint(case.workload())
    except WorkloadError:
        return False
    return True


def _traced(selected: list[Case]) -> Iterator[dict[str, object]]:
    from kaitoc.compiler.memory.trace.run import trace

    for case in selected:
        start = time.process_time()
        try:
            found = trace(case.workload())
        except WorkloadError as error:
            yield {"case": case.name, "error": str(error)}
            continue
        yield {
            "case": case.name,
            "phases": {peak.phase.value: peak.allocated_bytes for peak in found.phases},
            "reserved_bytes": found.reserved_bytes,
            "cpu_seconds": round(time.process_time() - start, 3),
        }


def main() -> None:
    """Trace the cases named on standard input, one a line; all of the model's when there are none."""
    model = sys.argv[1]
    wanted = {line.strip() for line in sys.stdin} if not sys.stdin.isatty() else set()
    for line in _traced([case for case in cases(model) if not wanted or case.name in wanted]):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
