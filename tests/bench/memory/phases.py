"""Score what is allocated after loading, after the forward and after the backward pass (`data/phases`).

The runs measured call the model themselves and keep its outputs, so that those are added here: float32 logits, and the
keys and values of its cache where checkpointing does not turn that off.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from kaitoc.compiler.catalog.architecture import Architecture
from kaitoc.compiler.catalog.model_config import from_config
from kaitoc.compiler.memory.closed_form.footprint import saved_bytes
from kaitoc.compiler.memory.closed_form.plan import plan_for
from kaitoc.compiler.memory.workload import Dtype, Lora, Quantization, Workload

FOLDER = Path(__file__).parent / "data" / "phases"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
GB = 1e9
STACKS = {"00-profile_lora_qlora": "transformers-4.39", "00-profile_lora_qlora_hqq": "transformers-4.38"}
"""The second notebook's peaks hold two bytes per layer and pair of tokens, which only 4.38 keeps."""


@dataclass(frozen=True, slots=True)
class PhaseError:
    """Relative errors by phase of one run; None where it is not predicted."""

    name: str
    loaded: float
    forward: float | None
    backward: float | None


def phase_errors() -> list[PhaseError]:
    """Return the errors of every run.

    Left out are what 4-bit layers of bitsandbytes before 0.43.2 keep under non-reentrant checkpointing, and after the
    backward pass: the profiles of that time checkpoint reentrantly and drop their graph.
    """
    architecture = from_config("llama-1.14b", CONFIG)
    return [_errors(architecture, row) for path in sorted(FOLDER.glob("*.csv")) for row in _rows(path)]


def phase_table() -> str:
    """Return mean and worst errors by phase."""
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for error in phase_errors():
        for phase in ("loaded", "forward", "backward"):
            share = getattr(error, phase)
            if share is not None:
                found[phase].append((share, error.name))
    lines = ["| fsdp_qlora, allocated | rows | mean | worst | worst row |", "|---|---|---|---|---|"]
    for phase, errors in found.items():
        worst = max(errors, key=lambda error: abs(error[0]))
        mean = sum(abs(share) for share, _ in errors) / len(errors)
        words = "once loaded" if phase == "loaded" else f"after {phase}"
        lines.append(f"| {words} | {len(errors)} | {mean:.1%} | {worst[0]:+.1%} | {worst[1]} |")
    return "\n".join(lines)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _errors(architecture: Architecture, row: dict[str, str]) -> PhaseError:
    workload = _workload(architecture, row)
    plan, tokens = plan_for(workload), workload.seq_len_tokens
    loaded = plan.weights_bytes + plan.adapter_bytes
    cache = 2 * architecture.num_layers * architecture.num_kv_heads * architecture.head_dim * workload.dtype.num_bytes
    cache *= 0 if workload.gradient_checkpointing else tokens
    logits = 4 * architecture.vocab_size * tokens
    is_quantized = workload.quantization is not Quantization.NONE
    forward = None if is_quantized and workload.gradient_checkpointing else loaded + saved_bytes(workload) + cache
    backward = None if is_quantized else loaded + plan.gradient_bytes + logits + cache
    name = f"{row['method']} {tokens} tokens{' checkpointed' if workload.gradient_checkpointing else ''}"
    return PhaseError(
        name,
        loaded / GB / float(row["loaded_gb"]) - 1.0,
        None if forward is None else forward / GB / float(row["forward_gb"]) - 1.0,
        None if backward is None else backward / GB / float(row["backward_gb"]) - 1.0,
    )


def _workload(architecture: Architecture, row: dict[str, str]) -> Workload:
    lora = Lora(8, 8.0, 0.1, ("q_proj", "v_proj"), dtype=Dtype.BFLOAT16)
    return Workload(
        architecture=architecture,
        lora=None if row["method"] == "full" else lora,
        batch_size=1,
        seq_len_tokens=int(row["seq_len_tokens"]),
        stack=STACKS[row["note"]],
        quantization=Quantization(row["quantization"]),
        gradient_checkpointing=row["checkpointing"] == "1",
    )
