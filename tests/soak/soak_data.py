"""Every architecture, packed and by each kernel it has: documents stay apart, or the run is refused by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runtime"))

import torch
from short_plan import short_plan
from tiny_architectures import ARCHITECTURES, tiny_config
from transformers import AutoModelForCausalLM

from kaitoc.runtime.failures import PlanFailure
from kaitoc.runtime.training.isolation import require_isolation

NUM_TOKENS = 512
LEAKING = frozenset({"bloom", "falcon", "falcon_new", "gpt_oss", "mamba", "mpt"})
"""Those whose packed documents attend to each other in transformers 5.23, as their logits show."""


def verdict(name: str, kernel: str, precision: str) -> str:
    """What is wrong with an architecture's packing, "" when it is as it must be."""
    torch.manual_seed(0)
    try:
        model = AutoModelForCausalLM.from_config(
            tiny_config(name, NUM_TOKENS), dtype=torch.float32, attn_implementation=kernel
        )
    except ValueError:
        return ""  # it has no such kernel
    place = Path("unused")
    plan = short_plan(place, place, place, data={"packing": True}, training={"bf16": precision == "bfloat16"})
    try:
        require_isolation(plan, model, "cpu")
    except PlanFailure as error:
        return "" if name in LEAKING else f"refused: {error}"
    return "not refused, though its documents leak" if name in LEAKING else ""


def main() -> int:
    """Probe all and print what is wrong."""
    num_wrong = 0
    for name in ARCHITECTURES:
        for kernel in ("sdpa", "eager"):
            for precision in ("float32", "bfloat16"):
                wrong = verdict(name, kernel, precision)
                num_wrong += bool(wrong)
                print(name, kernel, precision, wrong or "ok", flush=True)
    return min(num_wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
