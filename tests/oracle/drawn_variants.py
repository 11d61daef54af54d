"""Configurations drawn at random from a wider space than `variants` lists: the recordings' fresh eyes.

A drawn variant changes one to three options of a job, which at times has an evaluation, checkpoints, packed rows or
another optimizer. Values come from pools by type and from words of the option's own (`drawn_values.json`). The same
seed draws the same variants, so a batch that was measured blind can be recorded again.
"""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

from variants import variant_id

from kaitoc.schemas import read_json

_Json = dict[str, Any]
_ARGUMENTS = "TrainingArguments"
_ONLINE_OR_SLOW = {"push_to_hub", "torch_compile", "use_cpu", "force_download", "push_to_hub_model_id"}
_NUM_CHANGES = (1, 1, 1, 1, 1, 2, 2, 2, 3)
_OWN_WORDS = 0.75
_IN_CIRCUMSTANCES = 0.45
_SECTION_WEIGHTS = {
    "ModelConfig": 12,
    "QuantizationConfig": 12,
    "LoraConfig": 20,
    _ARGUMENTS: 100,
    "DataCollator": 12,
    "DatasetConfig": 10,
}


def drawn_variants(release: str, seed: int, count: int) -> list[_Json]:
    """Return `count` different variants of a release, always the same for a seed."""
    rng = random.Random(f"{release} {seed}")
    drawn: dict[str, _Json] = {}
    while len(drawn) < count:
        variant = _drawn(rng, release)
        drawn.setdefault(variant_id(variant), variant)
    return list(drawn.values())


def _drawn(rng: random.Random, release: str) -> _Json:
    sections = read_json(f"training_config/arguments/{release}")["sections"]
    merged: dict[str, _Json] = {}
    data = "messages"
    if rng.random() < _IN_CIRCUMSTANCES:
        circumstance = rng.choice(_pools()["circumstances"])
        data = circumstance.get("data", data)
        for section, options in circumstance["set"].items():
            known = {name: value for name, value in options.items() if name in sections[section]}
            merged.setdefault(section, {}).update(known)
    for _ in range(rng.choice(_NUM_CHANGES)):
        section, name = _option(rng, sections)
        merged.setdefault(section, {})[name] = _value(rng, section, name, sections[section][name])
    variant: _Json = {"base": rng.choice(("lora", "lora", "qlora") if release != "v0.10" else ("lora",)), "set": merged}
    return variant if data == "messages" else {**variant, "data": data}


def _option(rng: random.Random, sections: _Json) -> tuple[str, str]:
    """Draw an option; those with words of their own come up more often than the many that nothing reads."""
    section = rng.choices(list(_SECTION_WEIGHTS), list(_SECTION_WEIGHTS.values()))[0]
    names = [name for name in sections[section] if name not in _ONLINE_OR_SLOW]
    own = _pools()["options"]
    weights = [4 if f"{section}.{name}" in own else 1 for name in names]
    return section, rng.choices(names, weights)[0]


def _value(rng: random.Random, section: str, name: str, row: _Json) -> object:
    own: list[object] | None = _pools()["options"].get(f"{section}.{name}")
    if own is not None and rng.random() < _OWN_WORDS:
        return rng.choice(own)
    if row["type"] == "choice" and rng.random() < _OWN_WORDS:
        word = rng.choice(row["choices"])
        return [word] if row.get("nargs") == "+" and rng.random() < 0.5 else word
    kinds: dict[str, list[object]] = _pools()["kinds"]
    kind = "json" if row.get("json") else row["type"] if row["type"] in kinds else "str"
    value = rng.choice(kinds[kind])
    is_listed = row.get("nargs") == "+" and not isinstance(value, list | dict) and rng.random() < 0.5
    return [value] if is_listed else value


@cache
def _pools() -> _Json:
    pools: _Json = json.loads(Path(__file__).with_name("drawn_values.json").read_text(encoding="utf-8"))
    return pools
