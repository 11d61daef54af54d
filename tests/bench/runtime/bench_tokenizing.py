"""Times the tokenization of conversations of ten turns beside TRL's map, by chat template, on one core.

Usage: python tests/bench/runtime/bench_tokenizing.py [--rounds N] [--rows N] [TEMPLATE...]

Both get parsed rows and make token ids with the assistant's turns marked: TRL by its training template, which says what
the model generates, the runtime by the model's own. They take turns; times are those of the process, and each ratio is
the median of its rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "runtime"), str(TESTS.parent / "examples")]

import datasets  # noqa: E402  (after the path)
import trl_templates  # noqa: E402
from build_tiny_model import build_tokenizer, texts  # noqa: E402
from trl.trainer.sft_config import SFTConfig  # noqa: E402
from trl.trainer.sft_trainer import SFTTrainer  # noqa: E402

from kaitoc.compiler.plan.plan import DataPlan  # noqa: E402
from kaitoc.runtime.data.examples import Row  # noqa: E402
from kaitoc.runtime.data.messages import parse_messages  # noqa: E402
from kaitoc.runtime.data.prepare import prepare  # noqa: E402

SEED = 0
NUM_TURNS = 10
TEMPLATES = ("llama3", "qwen2_5", "qwen3", "gptoss")
MAX_RATIO_OF_TOKENS = 1.03
"""TRL's template for training is not the model's own: Qwen3's frames more of the answers by `<think>`."""


def conversations(num_rows: int) -> list[dict[str, Any]]:
    """Return conversations of the words that the tokenizer was trained on, 10 to 80 a turn."""
    chance = random.Random(SEED)
    words = " ".join(texts()).split()
    rows = []
    for _ in range(num_rows):
        starts = [chance.randrange(len(words) - 80) for _ in range(NUM_TURNS)]
        said = [" ".join(words[start : start + chance.randint(10, 80)]) for start in starts]
        roles = ["user", "assistant"] * (NUM_TURNS // 2)
        rows.append({"messages": [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]})
    return rows


def tokenizer_of(template: str) -> Any:
    """Return the demo's tokenizer with the markers of all templates and one of them."""
    tokenizer = build_tokenizer()
    special = trl_templates.tokenizer().get_added_vocab()
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(special), "bos_token": "<bos>"})
    tokenizer.chat_template = trl_templates.source(template)
    return tokenizer


def by_runtime(name: str, rows: list[dict[str, Any]]) -> Callable[[], int]:
    """Return what tokenizes by the model's own template and counts tokens."""
    tokenizer, data = tokenizer_of(name), DataPlan(paths=("data",), max_length=None)

    def tokenize() -> int:
        parsed = [
            Row(f"row:{index}", messages=parse_messages("row", row["messages"])) for index, row in enumerate(rows)
        ]
        return sum(prepare(tokenizer, parsed, data).lengths_tokens)

    return tokenize


def by_trl(name: str, rows: list[dict[str, Any]]) -> Callable[[], int]:
    """Return what tokenizes by TRL's template for training and counts tokens."""
    tokenizer = tokenizer_of(f"{name}_training")
    arguments = SFTConfig(output_dir="unused", assistant_only_loss=True, max_length=None, use_cpu=True, report_to=[])
    trainer: Any = SimpleNamespace(
        _tokenizer=tokenizer, chat_template=None, assistant_only_loss=True, completion_only_loss=False, _is_vlm=False
    )
    dataset = datasets.Dataset.from_list(rows)

    def tokenize() -> int:
        made = SFTTrainer._prepare_dataset(trainer, dataset, tokenizer, arguments, False, None, "train")
        return sum(map(len, made["input_ids"]))

    return tokenize


def cpu_seconds(tokenize: Callable[[], int]) -> float:
    """Return the CPU time of one pass."""
    started = time.process_time()
    tokenize()
    return time.process_time() - started


def main() -> None:
    """Print the speed of both for each template."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("templates", nargs="*", default=TEMPLATES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=400)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    rows = conversations(arguments.rows)
    print(f"{arguments.rows} rows of {NUM_TURNS} turns, {arguments.rounds} rounds; rows per CPU second")
    print(f"{'template':<10}{'TRL':>8}{'runtime':>10}{'ratio':>9}  (bar: >= 1)   all ratios")
    for name in arguments.templates:
        ours, theirs = by_runtime(name, rows), by_trl(name, rows)
        counts = ours(), theirs()
        if max(counts) > MAX_RATIO_OF_TOKENS * min(counts):
            sys.exit(f"{name}: {counts[0]} tokens here, {counts[1]} by TRL")
        pairs = [(cpu_seconds(theirs), cpu_seconds(ours)) for _ in range(arguments.rounds)]
        speeds = [arguments.rows / statistics.median(kind) for kind in zip(*pairs, strict=True)]
        ratios = sorted(trl / runtime for trl, runtime in pairs)
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{name:<10}{speeds[0]:8.0f}{speeds[1]:10.0f}{statistics.median(ratios):8.2f}x{'':<16}{shown}", flush=True
        )


if __name__ == "__main__":
    main()
