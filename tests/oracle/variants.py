"""The configurations that are recorded: every option's boundary values, vocabularies, and the pairs that meet.

A variant is a change to one of two complete configurations, `lora` or `qlora`: `set` has values by section, and a
value of `DROP` takes a key out. `data` names the rows it trains on (`recorded_phi3.make_data`). The values of single
options are in `option_values.json`, products of options that meet in a condition of the libraries in
`related_options.json` (chosen) and `schemas/generate/raises` (read off the sources).
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kaitoc.schemas import read_json

DROP = "<drop>"
_FOLDER = Path(__file__).parent
_Json = dict[str, Any]
_ARGUMENTS = "TrainingArguments"
_READ_BY_THE_MODEL = ("QuantizationConfig", "ModelConfig", "LoraConfig")
_SLOW_OR_ONLINE = ("torch_compile", "push_to_hub", "use_cpu", "enable_jit_checkpoint", "do_predict", "do_train")
NUM_PAIRS = 400
NUM_FLAG_PAIRS = 150
NUM_OF_A_CONDITION = 12


def all_variants(release: str) -> list[_Json]:
    """Return the variants of a release, each once, the unchanged configurations first."""
    plain: list[_Json] = [{"base": base, "set": {}} for base in _values()["bases"]]
    listed = itertools.chain(
        plain,
        _single_options(release),
        _related(),
        _flag_pairs(release),
        _random_pairs(release),
        _shared_conditions(release),
    )
    return list({variant_id(variant): variant for variant in listed}.values())


def variant_id(variant: _Json) -> str:
    """Return a text that names a variant: itself."""
    return json.dumps(variant, ensure_ascii=True, separators=(",", ":"))


def base_config(base: str) -> _Json:
    """Return a complete configuration, `lora` or `qlora`."""
    return {name: dict(options) for name, options in _values()["bases"][base].items()}


def config_of(variant: _Json) -> _Json:
    """Return the value of `training_config` that a variant stands for."""
    sections = base_config(variant["base"])
    for section, options in variant["set"].items():
        for name, value in options.items():
            if value == DROP:
                sections[section].pop(name, None)
            else:
                sections[section][name] = value
    return sections


@cache
def _values() -> _Json:
    values: _Json = json.loads((_FOLDER / "option_values.json").read_text(encoding="utf-8"))
    return values


def _variant(base: str, *changes: _Json, data: str = "") -> _Json:
    merged: dict[str, _Json] = {}
    for change in changes:
        for section, options in change.items():
            merged.setdefault(section, {}).update(options)
    variant: _Json = {"base": base, "set": merged}
    return {**variant, "data": data} if data else variant


def _arguments(release: str) -> _Json:
    sections: _Json = read_json(f"training_config/arguments/{release}")["sections"]
    return sections


def _values_of(section: str, name: str, row: _Json) -> list[object]:
    """Return the values of an option: its own, its choices, or those of its type."""
    own: list[object] | None = _values()["values"].get(f"{section}.{name}")
    if own is not None:
        return own
    if row["type"] == "choice":
        first = row["choices"][0]
        return [*row["choices"], None, str(first).swapcase(), "x", ""]
    kinds: dict[str, list[object]] = _values()["kinds"]
    return kinds["json"] if row.get("json") else kinds.get(row["type"], [None, "", "{}", "x"])


def _single_options(release: str) -> Iterator[_Json]:
    """Yield each value of each option on its own, under lora; under qlora what models and adapters read."""
    for section, arguments in _arguments(release).items():
        for name, row in arguments.items():
            bases = ["lora"]
            if section in _READ_BY_THE_MODEL or name in _values()["under_qlora"]:
                bases.append("qlora")
            for value, base in itertools.product(_values_of(section, name, row), bases):
                yield _variant(base, {section: {name: value}})


def _related() -> Iterator[_Json]:
    """Yield the options that meet in one condition of the libraries' sources."""
    products = json.loads((_FOLDER / "related_options.json").read_text(encoding="utf-8"))["products"]
    for product in products:
        for base in product["bases"]:
            for changes in itertools.product(*product["axes"]):
                yield _variant(base, *changes, data=product.get("data", ""))


def _shared_conditions(release: str) -> Iterator[_Json]:
    """Yield boundary values together of options that share a raising condition in the release's libraries."""
    rng, sections = random.Random(7), _arguments(release)
    owners = {name: section for section, rows in reversed(sections.items()) for name in rows}
    path = _FOLDER.parents[1] / "schemas" / "generate" / "raises" / f"{release}.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else ())
    for options in (row["options"] for row in rows if len(row["options"]) > 1):
        values = [
            [value for value in _values_of(owners[name], name, sections[owners[name]][name]) if value is not None]
            for name in options
        ]
        for _ in range(NUM_OF_A_CONDITION):
            changes = [
                {owners[name]: {name: rng.choice(choices)}} for name, choices in zip(options, values, strict=True)
            ]
            yield _variant(rng.choice(("lora", "qlora")), *changes)


def _flag_pairs(release: str) -> Iterator[_Json]:
    """Yield flags two by two: what one allows, another may not."""
    rows = _arguments(release)[_ARGUMENTS]
    flags = {
        name: row["default"] for name, row in rows.items() if row["type"] == "bool" and name not in _SLOW_OR_ONLINE
    }
    pairs = list(itertools.combinations(flags, 2))
    random.Random(17).shuffle(pairs)
    for pair in pairs[:NUM_FLAG_PAIRS]:
        yield _variant("lora", {_ARGUMENTS: {name: not flags[name] for name in pair}})


def _random_pairs(release: str) -> Iterator[_Json]:
    """Yield two changes at once, drawn from all."""
    rng = random.Random(12)
    singles = [
        variant
        for variant in _single_options(release)
        if variant["base"] == "lora" and not any(None in options.values() for options in variant["set"].values())
    ]
    for number in range(NUM_PAIRS):
        first, second = rng.sample(singles, 2)
        yield _variant("lora" if number % 3 else "qlora", first["set"], second["set"])
