"""What makes a text or a document Kaito's: its API group, or a training config with one of Kaito's sections."""

from __future__ import annotations

import re

from kaitoc.compiler.yaml.tree import Mapping, Node

KAITO_API_GROUP = "kaito.sh"
DATA_KEY = "training_config.yaml"
ROOT_KEY = "training_config"
SECTIONS = (
    "ModelConfig",
    "QuantizationConfig",
    "LoraConfig",
    "TrainingArguments",
    "DatasetConfig",
    "DataCollator",
)

SERVING_DATA_KEY = "inference_config.yaml"
SERVING_SECTION = "vllm"
SERVING_KEYS = (SERVING_SECTION, "max_probe_steps", "kv_cache_cpu_memory_utilization")
"""What Kaito's launcher reads of an inference config."""

PLAN_KEY = "plan.json"
PLAN_LABEL = "kaitoc.dev/plan"
"""The label of the objects that run a plan without Kaito, and of the ConfigMap that holds it."""

_KAITOS_LINE = r"^[ \t-]*[\"']?apiVersion[\"']?[ \t]*:[ \t]*[\"']?kaito\.sh/"
_SECTION_LINE = rf"^[ \t]*[\"']?(?:{'|'.join(SECTIONS)})[\"']?[ \t]*:"


def looks_like_kaitos(text: str) -> bool:
    """Return whether a text that is not YAML has the lines of an object of Kaito's API or of a training config."""
    if f"{KAITO_API_GROUP}/" in text and re.search(_KAITOS_LINE, text, re.MULTILINE) is not None:
        return True
    return has_lines_of_sections(text)


def has_lines_of_sections(text: str) -> bool:
    """Return whether a text that is not YAML has the lines of a training config."""
    return ROOT_KEY in text and re.search(_SECTION_LINE, text, re.MULTILINE) is not None


def has_sections(root: Node | None) -> bool:
    """Return whether a document has `training_config` with one of Kaito's sections, which no other program has."""
    entry = root.get(ROOT_KEY) if isinstance(root, Mapping) else None
    config = entry.value if entry is not None else None
    return isinstance(config, Mapping) and any(config.get(name) is not None for name in SECTIONS)


def has_serving_keys(root: Node | None, path: str) -> bool:
    """Return whether a document is an inference config: by keys that no other program has, or by its file's name."""
    if not isinstance(root, Mapping) or root.get(SERVING_SECTION) is None:
        return False
    return path.endswith(SERVING_DATA_KEY) or any(root.get(name) is not None for name in SERVING_KEYS[1:])
