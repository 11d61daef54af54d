"""Reserved memory of single steps with TRL's chunked loss against the trace's own log, on random jobs.

Usage: python tests/bench/memory/chunked.py [NUM_JOBS] [SEED]
"""

from __future__ import annotations

import random
import sys
import warnings
from statistics import mean

from kaitoc.compiler.catalog.models import find_model
from kaitoc.compiler.memory.closed_form.footprint import footprint
from kaitoc.compiler.memory.trace.run import trace
from kaitoc.compiler.memory.workload import Allocator, Dtype, Lora, Loss, Optimizer, Quantization, Workload

TOLERANCE = 0.03
MODELS = (
    "smollm2-360m", "pythia-410m", "qwen2.5-0.5b", "qwen3-0.6b", "gemma-3-1b", "tinyllama-1.1b", "llama-3.2-1b",
    "qwen2.5-1.5b", "smollm2-1.7b", "gemma-2-2b", "llama-3.2-3b", "phi-3-mini-128k-instruct", "phi-4-mini-instruct",
    "mistral-7b", "qwen2.5-7b", "llama-3.1-8b-instruct",
)  # fmt: skip
STACKS = ("kaito-v0.12", "trl-1.10", "trl-1.13")
METHODS = ("LoRA", "QLoRA", "full")
LENGTHS = (512, 777, 1024, 1500, 2048, 3000, 4096)
MOST_TOKENS = 16384
OPTIMIZERS = (Optimizer.ADAMW_FUSED, Optimizer.ADAMW, Optimizer.PAGED_ADAMW_8BIT)


def draw(dice: random.Random) -> tuple[str, Workload]:
    """Draw a job; return its method with it."""
    model, method = find_model(dice.choice(MODELS)), dice.choice(METHODS)
    if model is None:
        raise SystemExit("a model is missing in the catalog")
    is_quantized = method == "QLoRA"
    length = dice.choice([tokens for tokens in LENGTHS if tokens <= model.max_position_embeddings])
    allocator = dice.choice(list(Allocator))
    return method, Workload(
        model,
        None if method == "full" else Lora(rank=dice.choice((8, 64)), dropout=dice.choice((0.0, 0.1))),
        dice.choice([size for size in (1, 2, 4, 8) if size * length <= MOST_TOKENS]),
        length,
        dice.choice(STACKS),
        quantization=Quantization.NF4 if is_quantized else Quantization.NONE,
        double_quant=is_quantized and dice.random() < 0.5,
        kbit_prep=is_quantized,
        gradient_checkpointing=is_quantized or dice.random() < 0.5,
        loss=Loss.CHUNKED,
        optimizer=dice.choice(OPTIMIZERS),
        allocator=allocator,
        autocast=dice.choice((Dtype.BFLOAT16, None)),
        empty_cache_each_step=allocator is Allocator.EXPANDABLE and dice.random() < 0.5,
        accumulates=dice.random() < 0.3,
    )


def name_of(method: str, job: Workload) -> str:
    """Name what was drawn of a job."""
    words = [
        job.architecture.name, method, f"{job.batch_size} x {job.seq_len_tokens}", job.stack, job.optimizer.value,
        "checkpointed" if job.gradient_checkpointing else "",
        job.allocator.value + (", emptied" if job.empty_cache_each_step else ""),
        "autocast" if job.autocast else "",
        "accumulated" if job.accumulates else "",
    ]  # fmt: skip
    return ", ".join(filter(None, words))


def main() -> int:
    """Print every error, and the mean and the worst of each method."""
    warnings.simplefilter("ignore")
    num_jobs, seed = (int(word) for word in (sys.argv[1:] + ["40", "1"][len(sys.argv) - 1 :]))
    dice, errors = random.Random(seed), list[tuple[str, float]]()
    for _ in range(num_jobs):
        method, job = draw(dice)
        logged, derived = trace(job), footprint(job)
        reserved = derived.reserved_bytes / logged.reserved_bytes - 1
        allocated = derived.allocated_bytes / logged.allocated_bytes - 1
        errors.append((method, reserved))
        print(f"{name_of(method, job)}: allocated {allocated:+.2%}, reserved {reserved:+.2%}", flush=True)
    for wanted in METHODS:
        found = [error for method, error in errors if method == wanted]
        if found:
            off, within = mean(map(abs, found)), sum(abs(error) <= TOLERANCE for error in found)
            print(f"{wanted}: {len(found)} jobs, reserved {off:.2%} off on average, {within} within {TOLERANCE:.0%}")
            print(f"worst {max(found, key=abs):+.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
