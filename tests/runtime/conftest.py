"""A tiny Phi-3 and its tokenizer for the tests of the runtime: fused layers, chat template, built in a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from short_plan import short_plan

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


@pytest.fixture(scope="session")
def chat_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of conversations of several lengths."""
    path = tmp_path_factory.mktemp("data") / "chat.jsonl"
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
    return partial(short_plan, tiny_model, chat_data, tmp_path / "results")
