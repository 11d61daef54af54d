"""Replays of batches that differ in length against the trace's own log of the same batches, in many ways.

Usage: python tests/bench/memory/varying.py [SEEDS] [WORDS]
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from statistics import mean
from typing import Any

from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.batches import Loading, assumed_lengths, batches
from kaitoc.compiler.memory.closed_form.replay import replay_batches
from kaitoc.compiler.memory.trace.run import trace_batches
from kaitoc.compiler.memory.workload import Allocator, Lora, Loss, Quantization, Workload

NUM_LAYERS, NUM_BATCHES, TOLERANCE = 3, 6, 0.03
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA, checkpointed": {"gradient_checkpointing": True},
    "QLoRA": {"quantization": Quantization.NF4, "kbit_prep": True, "gradient_checkpointing": True},
    "full": {"lora": None},
    "full, checkpointed": {"lora": None, "gradient_checkpointing": True},
}
LOSSES: dict[str, dict[str, Any]] = {
    "full logits": {},
    "fused loss": {"loss": Loss.FUSED},
    "Liger's loss": {"loss": Loss.LIGER},
    "TRL's chunks": {"loss": Loss.CHUNKED, "stack": "trl-1.12"},
}


def ways() -> Iterator[tuple[str, Workload, int]]:
    """Yield the name, the step and the accumulation of each way."""
    model = find_model("qwen2.5-0.5b")
    if model is None:
        raise SystemExit("the catalog has no qwen2.5-0.5b")
    config = {**model.config, "model_type": model.model_type, "num_hidden_layers": NUM_LAYERS}
    step = Workload(from_config("shallow", config), Lora(), 4, 1024, "transformers-5", is_padded=True)
    for (method, of_method), (loss, of_loss), allocator, steps in product(
        METHODS.items(), LOSSES.items(), Allocator, (1, 3)
    ):
        name = f"{method}, {loss}, {allocator.value} allocator, accumulation {steps}"
        yield name, replace(step, **of_method, **of_loss, allocator=allocator), steps


def main() -> int:
    """Print every error, the mean and the worst."""
    warnings.simplefilter("ignore")
    num_seeds, words = int(sys.argv[1]) if len(sys.argv) > 1 else 2, sys.argv[2] if len(sys.argv) > 2 else ""
    errors: list[tuple[float, str]] = []
    for name, step, steps in ways():
        for seed in range(1, num_seeds + 1) if words in name else ():
            shapes = batches(assumed_lengths(200, 600, 1024, 1024, 64), Loading(), 4, seed, NUM_BATCHES)
            logged, replayed = (run(step, shapes, accumulation_steps=steps) for run in (trace_batches, replay_batches))
            reserved = replayed.reserved_bytes / logged.reserved_bytes - 1
            allocated = replayed.allocated_bytes / logged.allocated_bytes - 1
            errors.append((reserved, f"{name}, seed {seed}"))
            print(f"{errors[-1][1]}: allocated {allocated:+.2%}, reserved {reserved:+.2%}", flush=True)
    sizes = [abs(error) for error, _ in errors]
    worst, where = max(errors, key=lambda one: abs(one[0]))
    within = sum(size <= TOLERANCE for size in sizes)
    print(f"{len(sizes)} runs: reserved {mean(sizes):.2%} off on average, {within} within {TOLERANCE:.0%}")
    print(f"worst {worst:+.1%}: {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
