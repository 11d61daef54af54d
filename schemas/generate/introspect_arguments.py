"""Print what Kaito's argument parser accepts, as JSON, with the libraries of the Python that runs this file.

It runs inside a release's own environment, so it imports nothing of kaitoc. Arguments: the path of `sections.json`,
the release, and the trainer's argument class. Each section class is built as Kaito builds it, handed to transformers'
`HfArgumentParser`, and the argparse actions that result are described.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import importlib
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, get_type_hints  # noqa: UP035  Kaito's classes are annotated with these, and so parsed

_Json = Dict[str, Any]  # noqa: UP006
READ_FROM = ("transformers", "peft", "trl")
"""The libraries whose classes are read; a table records their versions."""

_PROBES = ("", "x", "1", "{}", "[]", "a=b", "none")


def section_classes(sections: _Json, release: str, trainer: str) -> dict[str, type]:
    """Return the dataclass behind each section of a release."""
    return {name: _section_class(name, described, release, trainer) for name, described in sections.items()}


def describe(cls: Any) -> _Json:
    """Return the arguments that `HfArgumentParser` reads for a dataclass, by name."""
    from transformers import HfArgumentParser

    parser = HfArgumentParser((cls,))
    json_fields = set(getattr(cls, "_VALID_DICT_FIELDS", ()))
    actions = [action for action in parser._actions if action.dest != "help"]
    negatable = {action.dest for action in actions if isinstance(action, argparse._StoreFalseAction)}
    described: _Json = {}
    for action in actions:
        if isinstance(action, argparse._StoreFalseAction):
            continue
        entry = _describe_action(action)
        if action.dest in json_fields and entry["type"] == "str":
            entry["json"] = True
        if action.dest in negatable:
            entry["negatable"] = True
        if "deprecated" in (action.help or "").lower():
            entry["deprecated"] = True
        described[action.dest] = entry
    for name, value in _settled_defaults(parser, described).items():
        described[name]["settled"] = value
    return described


def _section_class(name: str, described: _Json, release: str, trainer: str) -> type:
    base = described["base"]
    bases = () if base is None else (_imported(trainer if base == "trainer" else base),)
    fields: list[Any] = []
    for field, how in described["fields"].items():
        if not is_in_release(how, release):
            continue
        annotation = _annotation(how["annotation"])
        default = how["default"]
        if how["annotation"] == "Optional[PreTrainedTokenizer]":
            default = _imported("transformers.PreTrainedTokenizer")
        if isinstance(default, dict):
            fields.append((field, annotation, dataclasses.field(default_factory=dict)))
        else:
            fields.append((field, annotation, dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(name, fields, bases=bases)
    _keep_parsable(made, release)
    return made


def _keep_parsable(cls: type, release: str) -> None:
    """Leave out of the bundled runtime's classes the inherited fields that no argument parser can read."""
    if release != "bundled":
        return
    from transformers import HfArgumentParser

    hints = get_type_hints(cls)
    declared: dict[str, Any] = vars(cls)["__dataclass_fields__"]
    for name, field in declared.items():
        trial = copy.copy(field)
        trial.type = hints[name]
        parser = argparse.ArgumentParser(add_help=False)
        try:
            HfArgumentParser._parse_dataclass_field(parser, trial)
            _kind(parser._actions[0])
        except (TypeError, ValueError):
            declared[name] = copy.copy(field)
            declared[name].init = False


def is_in_release(how: _Json, release: str) -> bool:
    """Return whether a release's section class has a field of `sections.json`."""
    if "only" in how:
        return bool(how["only"] == release)
    return "until" not in how or _number(release) <= _number(how["until"])


def _number(release: str) -> float:
    return float("inf") if release == "bundled" else float(release.removeprefix("v").split(".")[1])


def _annotation(text: str) -> Any:
    tokenizer = _imported("transformers.PreTrainedTokenizer")
    known: dict[str, Any] = {
        "bool": bool,
        "int": int,
        "float": float,
        "str": str,
        "Optional[str]": Optional[str],  # noqa: UP045
        "Optional[float]": Optional[float],  # noqa: UP045
        "List[str]": List[str],  # noqa: UP006
        "Optional[List[str]]": Optional[List[str]],  # noqa: UP006, UP045
        "Optional[List[int]]": Optional[List[int]],  # noqa: UP006, UP045
        "dict[str, any]": dict[str, any],  # type: ignore[valid-type]  # as Kaito writes it; argparse gets dict
        "Dict[str, Any]": Dict[str, Any],  # noqa: UP006
        "Optional[Dict[str, Any]]": Optional[Dict[str, Any]],  # noqa: UP006, UP045
        "Optional[PreTrainedTokenizer]": Optional[tokenizer],  # noqa: UP045
    }
    return known[text]


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _describe_action(action: argparse.Action) -> _Json:
    kind, choices = _kind(action)
    entry: _Json = {"type": kind}
    if action.nargs is not None:
        entry["nargs"] = action.nargs
    if action.const is not None and action.const is not True:
        entry["const"] = action.const
    if choices is not None:
        entry["choices"] = choices
    default = action.default
    if isinstance(default, str) and callable(action.type):
        default = action.type(default)
    entry["default"] = _plain(default)
    return entry


def _kind(action: argparse.Action) -> tuple[str, list[str] | None]:
    """Classify the conversion from string to value, with the allowed strings when they are few."""
    read: Any = action.type
    if action.choices is not None:
        return "choice", [_plain(choice) for choice in action.choices]
    if isinstance(read, type) and issubclass(read, enum.Enum):
        return "choice", [member.value for member in read]
    names = {int: "int", float: "float", str: "str", tuple: "tuple"}
    if isinstance(read, type) and read in names:
        return names[read], None
    if getattr(read, "__name__", "") == "string_to_bool":
        return "bool", None
    if getattr(read, "__origin__", None) is tuple:
        return "tuple", None
    accepted = [probe for probe in _PROBES if _reads(read, probe)]
    if not accepted:
        return "never", None
    if accepted == [""]:
        return "mapping", None
    raise ValueError(f"{action.dest}: no description for {read!r}, which reads {accepted}")


def _reads(read: Any, text: str) -> bool:
    try:
        read(text)
    except Exception:
        return False
    return True


def _settled_defaults(parser: Any, described: _Json) -> _Json:
    """Return the defaults that a trainer's `__post_init__` replaces, as far as they do not depend on the machine."""
    if "use_cpu" not in described:
        return {}
    made = parser.parse_args_into_dataclasses(["--use_cpu", "true"], look_for_args_file=False)[0]
    stable = ("output_dir", "bf16", "gradient_checkpointing", "activation_checkpointing")
    settled = {name: _plain(getattr(made, name)) for name in stable if name in described}
    return {name: value for name, value in settled.items() if value != described[name]["default"]}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str, dict)):
        return value
    return None


def main() -> None:
    """Print the sections and the versions of the libraries they were read from."""
    from importlib.metadata import version

    path, release, trainer = sys.argv[1:4]
    sections = json.loads(Path(path).read_text(encoding="utf-8"))["sections"]
    classes = section_classes(sections, release, trainer)
    stack = {name: version(name) for name in READ_FROM}
    import torch

    dtypes = sorted(name for name in vars(torch) if isinstance(getattr(torch, name), torch.dtype))
    described = {name: describe(cls) for name, cls in classes.items()}
    json.dump({"release": release, "stack": stack, "dtypes": dtypes, "sections": described}, sys.stdout)


if __name__ == "__main__":
    main()
