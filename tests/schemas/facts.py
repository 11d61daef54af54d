"""Where the data under `schemas/` says something for a second time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kaitoc.compiler.kaito.argument_table import table_names
from kaitoc.schemas import ROOT, read_json
from kaitoc.schemas.generate.models import MODELS

HOMES = {
    "catalog/gpus": "gpus",
    "catalog/instance_types": "instance_types",
    "catalog/models": "models",
    "catalog/releases": "releases",
    "catalog/served_models": "models",
    "catalog/stacks": "stacks",
}
"""The files whose entries are subjects, and the key under which the entries stand."""

MODULES = "catalog/module_names"
"""The file that lists the modules of each model type."""

LIBRARIES = ("transformers", "peft", "trl", "bitsandbytes", "accelerate", "torch", "datasets")
IDENTITY = ("name", "source", "$comment")
VERSION = re.compile(r"v?\d+(\.\d+)+")
Facts = dict[str, Any]


def written_files() -> Facts:
    """Return the content of every file that people write, by its name; generated ones have tests of their own."""
    generated = {*MODELS, *(f"training_config/{name}" for name in table_names())}
    names = (str(path.relative_to(ROOT).with_suffix("").as_posix()) for path in sorted(Path(ROOT).rglob("*.json")))
    return {
        name: read_json(name)
        for name in names
        if name not in generated and not name.startswith(("training_config/arguments/", "libraries/"))
    }


def told_twice(files: Facts) -> list[str]:
    """Return a line for everything that is said in a second place."""
    return [
        *_repeated_entries(files),
        *_entries_away_from_home(files),
        *_facts_beside_a_reference(files),
        *_versions_away_from_home(files),
        *_modules_away_from_home(files),
    ]


def _entries(files: Facts) -> Iterator[tuple[str, Facts]]:
    for home, key in HOMES.items():
        for entry in files[home][key]:
            yield home, entry


def _names(entry: Facts) -> list[str]:
    return [entry["name"], *entry.get("aliases", ())]


def _repeated_entries(files: Facts) -> Iterator[str]:
    seen: dict[str, str] = {}
    for home, entry in _entries(files):
        for name in dict.fromkeys(name.lower() for name in _names(entry)):
            if name in seen:
                yield f"{name} is an entry of {seen[name]} and of {home}"
            seen[name] = home


def _entries_away_from_home(files: Facts) -> Iterator[str]:
    """Find what a subject's name introduces elsewhere: a key of that name, or an object that bears it.

    A model may be named like its model type, which is a subject of its own (`gpt2`).
    """
    model_types = files["catalog/families"]["families"]
    homes = {name: home for home, entry in _entries(files) for name in _names(entry) if name not in model_types}
    homes |= {entry["model"]: "catalog/gpus" for entry in files["catalog/gpus"]["gpus"]}
    for file, (path, node) in _objects(files):
        introduced = [*(key for key in node if key in homes), str(node.get("name", ""))]
        for name in introduced:
            if homes.get(name, file) != file:
                yield f"{file} {path} tells of {name}, which is an entry of {homes[name]}"


def _facts_beside_a_reference(files: Facts) -> Iterator[str]:
    """Find objects that name a subject of another file and repeat one of its facts."""
    subjects = {name: (home, entry) for home, entry in _entries(files) for name in _names(entry)}
    for file, (path, node) in _objects(files):
        for key, value in node.items():
            home, entry = subjects.get(value, (file, {})) if isinstance(value, str) and key != "name" else (file, {})
            repeated = sorted((set(node) & set(entry)) - {*IDENTITY, key}) if home != file else []
            if repeated:
                yield f"{file} {path} refers to {value} and repeats its {', '.join(repeated)}"


def _versions_away_from_home(files: Facts) -> Iterator[str]:
    """Find versions of libraries outside the releases, and outside the profiles, which are of no release."""
    releases = [entry["name"] for entry in files["catalog/releases"]["releases"]]
    for file, (path, node) in _objects(files):
        versions = [key for key in LIBRARIES if VERSION.fullmatch(str(node.get(key, "")))]
        of_release = any(name in str(node.get("name", "")) for name in releases)
        if versions and (file not in ("catalog/releases", "catalog/stacks") or of_release):
            yield f"{file} {path} has versions of {', '.join(versions)}"


def _modules_away_from_home(files: Facts) -> Iterator[str]:
    """Find lists of the modules of a model type, by path or by the last part of it, beside the table of all."""
    table = files[MODULES]["model_types"]
    modules = {model_type: _last_parts([*row["adapted"], *row["refused"]]) for model_type, row in table.items()}
    for file, (path, node) in _objects(files):
        for model_type in node.keys() & modules.keys():
            listed = [_last_parts(names) for names in _lists_of_texts(node[model_type])]
            if file != MODULES and any(len(names & modules[model_type]) > 1 for names in listed):
                yield f"{file} {path} names modules of {model_type}, as {MODULES} does"


def _lists_of_texts(node: Any) -> Iterator[list[str]]:
    for _, found in _walk(node, "$"):
        yield from ([str(one) for one in value] for value in found.values() if isinstance(value, list))


def _last_parts(paths: list[str]) -> set[str]:
    return {path.rpartition(".")[2] for path in paths}


def _objects(files: Facts) -> Iterator[tuple[str, tuple[str, Facts]]]:
    for file, content in files.items():
        for found in _walk(content, "$"):
            yield file, found


def _walk(node: Any, path: str) -> Iterator[tuple[str, Facts]]:
    if isinstance(node, dict):
        yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from _walk(child, f"{path}.{key}")
