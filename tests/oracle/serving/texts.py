"""The texts of an `inference_config.yaml` that are recorded, for a release.

Every option with values of every sort, every form in which a key may be written, whole documents of every shape, and
options that meet in a condition of vLLM. They follow from the release's table of options alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaitoc.schemas import read_json

_Json = dict[str, Any]
_DATA: _Json = json.loads((Path(__file__).parent / "texts.json").read_text(encoding="utf-8"))
_MIXED = 260
"""How many texts have three to five options that were drawn at random."""


def all_texts(release: str) -> list[str]:
    """Return the texts of a release, each once, in an order that holds."""
    table = read_json(f"inference_config/options/{release}")
    texts = [*_DATA["shapes"], *_of_keys(), *_of_options(table), *_of_shapes(table), *_mixed(table, release)]
    return list(dict.fromkeys(texts))


def named_texts() -> set[str]:
    """Return the texts that somebody thought of: whole documents, keys, and options that meet."""
    return {*_DATA["shapes"], *_of_keys()}


def _text(*lines: str) -> str:
    return "vllm:\n" + "".join(f"  {line}\n" for line in lines)


def _of_keys() -> Iterator[str]:
    for line in (*_DATA["keys"], *_DATA["dotted"]):
        yield _text(line)
    for lines in _DATA["together"]:
        yield _text(*lines)


def _of_options(table: _Json) -> Iterator[str]:
    for name, option in table["options"].items():
        for value in _values(table, name, option):
            yield _text(f"{name}: {value}")
        if option["kind"] == "switch":
            for value in ("true", "null", "false"):
                yield _text(f"no-{name}: {value}")


def _values(table: _Json, name: str, option: _Json) -> list[str]:
    values = list(_DATA["values_by_kind"][option["kind"]])
    values += [str(choice) for choice in option.get("choices", ())]
    values += [str(one) for one in table["vocabularies"].get(name, ())]
    if option.get("choices"):
        values += [str(option["choices"][0]).upper(), "nonsense"]
    return list(dict.fromkeys(values))


def _of_shapes(table: _Json) -> Iterator[str]:
    """Yield the keys of options that take JSON, each with a value of every type."""
    for name, schema in table["shapes"].items():
        for key in schema["fields"]:
            for value in (1, True, "text", None, [], {}, -1, 0.5):
                yield _text(f"{name}: '{json.dumps({key: value})}'")


def _mixed(table: _Json, release: str) -> Iterator[str]:
    choose = random.Random(sum(map(ord, release)))
    names = sorted(table["options"])
    for _ in range(_MIXED):
        lines = []
        for name in choose.sample(names, choose.choice((2, 3, 3, 4, 5))):
            values = _values(table, name, table["options"][name])
            written = name.replace("-", "_") if choose.random() < 0.2 else name
            lines.append(f"{written}: {choose.choice(values)}")
        yield _text(*lines)
