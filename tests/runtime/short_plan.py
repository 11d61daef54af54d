"""The plan that most tests of the runtime change in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaitoc.compiler.plan.plan import Plan


def short_plan(model: Path, data: Path, output: Path, /, **changes: dict[str, Any] | None) -> Plan:
    """Make a plan of a LoRA run of four steps; keyword arguments change parts of it, by field."""
    parts: dict[str, Any] = {
        "name": "test",
        "model": {"path": str(model), "dtype": "float32"},
        "lora": {"r": 4},
        "data": {"paths": [str(data)], "max_length": 64},
        "training": {
            "max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1,
            "save_strategy": "no", "gradient_checkpointing": False, "bf16": False, "optim": "adamw_torch",
        },
        "output": {"path": str(output)},
        "provenance": {"kaitoc_version": "test"},
    }  # fmt: skip
    for name, change in changes.items():
        parts[name] = {**parts.get(name, {}), **change} if change is not None else None
    return Plan.model_validate(parts)
