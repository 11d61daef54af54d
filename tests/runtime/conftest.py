"""A tiny Phi-3 and its tokenizer for the tests of the runtime: fused layers, chat template, built in a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaitoc.compiler.plan.plan import Plan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
if str(EXAMPLES) not in sys.path:
    sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    pytest.importorskip("torch")
    from build_tiny_model import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The folder of an untrained Phi-3 of 2 layers."""
    from tiny_phi3 import save_tiny_phi3

    folder = tmp_path_factory.mktemp("tiny") / "model"
    save_tiny_phi3(folder, tokenizer)
    return folder


@pytest.fixture
def chat_data(tmp_path: Path) -> Path:
    """A file of conversations of several lengths."""
    path = tmp_path / "chat.jsonl"
    lines = []
    for number in range(24):
        turns = [
            {"role": "user", "content": f"What does rule {number} find?"},
            {"role": "assistant", "content": f"Rule {number} finds a wrong key. " * (1 + number % 3)},
        ]
        lines.append(json.dumps({"messages": turns}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def make_plan(tiny_model: Path, chat_data: Path, tmp_path: Path) -> Callable[..., Plan]:
    """A function that makes a plan of a short LoRA run; keyword arguments change parts of it, by field."""

    def make(**changes: dict[str, Any] | None) -> Plan:
        parts: dict[str, Any] = {
            "name": "test",
            "model": {"path": str(tiny_model), "dtype": "float32"},
            "lora": {"r": 4},
            "data": {"paths": [str(chat_data)], "max_length": 64},
            "training": {
                "max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1,
                "save_strategy": "no", "gradient_checkpointing": False, "bf16": False, "optim": "adamw_torch",
            },
            "output": {"path": str(tmp_path / "results")},
            "provenance": {"kaitoc_version": "test"},
        }  # fmt: skip
        for name, change in changes.items():
            parts[name] = {**parts.get(name, {}), **change} if change is not None else None
        return Plan.model_validate(parts)

    return make
