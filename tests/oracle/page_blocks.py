"""The blocks of the rule pages as configurations that can be run: each a claim about what a job does.

A block shows the options that its rule is about; the rest comes from the `lora` configuration of the recorder, except
what the rule says is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from variants import base_config

from kaitoc.rules import RULES

sys.path.insert(0, str(Path(__file__).parents[1] / "rules"))

from page_examples import Example, examples

_Json = dict[str, Any]
RELEASE = "v0.12"
MODEL = "phi-3"
LEFT_OUT = {
    "KT402": ("LoraConfig.target_modules",),
    "KT403": ("LoraConfig.target_modules",),
    "KT404": ("TrainingArguments.per_device_train_batch_size",),
    "KT406": ("DataCollator.mlm",),
    "KT411": ("DatasetConfig.train_test_split",),
    "KT441": ("TrainingArguments.max_steps",),
    "KT419": ("TrainingArguments.output_dir",),
}
"""What a rule finds missing is not filled in."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page: the `number`-th of the rule's; `config` is None where no training config is in it."""

    code: str
    number: int
    example: Example
    config: _Json | None

    @property
    def digest(self) -> str:
        """A short hash of what is run, so that a record of another configuration is not taken for this one's."""
        return hashlib.sha256(json.dumps(completed(self), sort_keys=True, default=str).encode()).hexdigest()[:12]

    @property
    def record_id(self) -> str:
        """The name of the block's record."""
        return f"{self.code}.{self.number}.{self.digest}"

    @property
    def claim(self) -> str:
        """What the page says of the block: the severity of what is marked, or that nothing is."""
        severities = {severity for _, severity in self.example.expected}
        return next((name for name in ("error", "warning", "info") if name in severities), "clean")


def all_blocks() -> list[Block]:
    """Return the blocks of all pages, in order."""
    return [
        Block(rule.CODE, number, example, _config(example))
        for rule in RULES
        for number, example in enumerate(examples(rule), start=1)
    ]


def runnable(block: Block) -> bool:
    """Return whether a block is a training config for Kaito's own image, for the recorded release and model.

    What is said of an update is said of two objects, and no job shows it.
    """
    options = block.example.options
    is_kaito = options.get("target", "kaito") == "kaito" and options.get("kaito-version", RELEASE) == RELEASE
    is_created = "update" not in options
    is_of_the_model = options.get("model", MODEL).startswith(MODEL) and "gpu" not in options
    is_known = "${" not in block.example.text and "{{ ." not in block.example.text
    return block.config is not None and is_kaito and is_created and is_of_the_model and is_known


def completed(block: Block) -> _Json:
    """Return a block's configuration with what it does not show filled in."""
    sections: _Json = dict(block.config or {})
    quantization = sections.get("QuantizationConfig")
    is_quantized = isinstance(quantization, dict) and quantization.get("load_in_4bit") is True
    for section, options in base_config("qlora" if is_quantized else "lora").items():
        shown = sections.setdefault(section, {})
        if isinstance(shown, dict):
            left_out = LEFT_OUT.get(block.code, ())
            filled = {name: value for name, value in options.items() if f"{section}.{name}" not in left_out}
            sections[section] = {**filled, **shown} if not _has_spelling(shown, filled) else {**shown}
    return sections


def _has_spelling(shown: _Json, filled: _Json) -> bool:
    """Return whether a block spells a key in its own way, which a filled-in one would override."""
    plain = {re.sub("[-_]", "", str(name)) for name in shown}
    return any(re.sub("[-_]", "", name) in plain and name not in shown for name in filled)


def _config(example: Example) -> _Json | None:
    try:
        documents = [document for document in yaml.safe_load_all(example.text) if isinstance(document, dict)]
        for document in documents:
            text = (document.get("data") or {}).get("training_config.yaml")
            if document.get("kind") == "ConfigMap" and isinstance(text, str):
                config = (yaml.safe_load(text) or {}).get("training_config")
                return config if isinstance(config, dict) else None
    except (yaml.YAMLError, AttributeError):
        return None
    return None
