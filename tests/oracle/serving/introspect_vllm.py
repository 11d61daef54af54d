"""Print what vLLM's server takes on its command line, as JSON, with the vLLM that `PYTHONPATH` has.

It runs beside the Python files of a release's wheel on any CPU (`vllm_on_cpu`), so it imports nothing of kaitoc. The
parser is built by vLLM itself and its argparse actions are described; bounds of numbers and the keys of options that
take JSON are those of the pydantic classes which the options fill.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import enum
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import vllm_on_cpu

_Json = dict[str, Any]
_BOUNDS = {"minimum": "min", "exclusiveMinimum": "above", "maximum": "max", "exclusiveMaximum": "below"}
_SIZES = {"human_readable_int": "size", "human_readable_int_or_auto": "size-or-auto"}


def parser_of_server() -> argparse.ArgumentParser:
    """Return the parser of vLLM's OpenAI server."""
    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser
    from vllm.entrypoints.openai.cli_args import make_arg_parser

    parser: argparse.ArgumentParser = make_arg_parser(FlexibleArgumentParser(description="vLLM serving server"))
    return parser


def described(parser: argparse.ArgumentParser) -> tuple[_Json, _Json]:
    """Return the options by name, and the shapes of those that take JSON."""
    bounds = _bounds()
    options: _Json = {}
    shapes: _Json = {}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or not action.option_strings:
            continue
        name = next(one for one in action.option_strings if one.startswith("--")).removeprefix("--")
        entry = _entry(action)
        entry.update(bounds.get(action.dest, {}) if entry["kind"] in ("int", "float", "size", "size-or-auto") else {})
        shape = _shape(action)
        if shape is not None:
            shapes[name] = shape
        options[name] = entry
    shapes["speculative-config"] = _speculation_shape()
    return dict(sorted(options.items())), dict(sorted(shapes.items()))


def _entry(action: argparse.Action) -> _Json:
    others = [one for one in action.option_strings[1:] if not one.startswith("--no-")]
    entry: _Json = {"kind": _kind(action)}
    if others:
        entry["aliases"] = others
    if any(one.startswith("--no-") for one in action.option_strings[1:]):
        entry["kind"] = "switch"
    if _is_optional(action):
        entry["optional"] = True
    if action.nargs in ("+", "?"):
        entry["nargs"] = action.nargs
    if isinstance(action, argparse._AppendAction):
        entry["appends"] = True
    if action.choices is not None:
        entry["choices"] = [str(choice) for choice in action.choices]
    name = action.option_strings[0].removeprefix("--").replace("-", "_")
    if action.dest != name:
        entry["dest"] = action.dest
    default = _plain(action.default)
    if default is not None:
        entry["default"] = default
    return entry


def _kind(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "flag"
    kind = _inner_type(action.type)
    name = getattr(kind, "__name__", "str") if kind is not None else "str"
    if type(action).__name__ == "LoRAParserAction":
        return "lora-modules"
    if name in _SIZES:
        return _SIZES[name]
    if name == "<lambda>":
        return "device-ids" if action.choices is None else "word"
    kinds = {"int": "int", "float": "float", "str": "str", "loads": "json", "union_dict_and_str": "json-or-text",
             "parse_dataclass": "object"}  # fmt: skip
    return kinds[name]


def _inner_type(kind: Any) -> Any:
    """Return what `optional_type` and `parse_type` wrap."""
    while getattr(kind, "__name__", "") in ("_optional_type", "_parse_type"):
        kind = next(cell.cell_contents for cell in kind.__closure__ if callable(cell.cell_contents))
    return kind


def _is_optional(action: argparse.Action) -> bool:
    return getattr(action.type, "__name__", "") in ("_optional_type", "union_dict_and_str")


_SAMPLES = {"null": None, "true": True, "whole": 1, "zero": 0, "negative": -1, "fraction": 0.5, "text": "text",
            "digits": "1", "empty list": [], "list of numbers": [1], "list of texts": ["text"],
            "mapping": {}}  # fmt: skip


def _shape(action: argparse.Action) -> Any:
    """Return what the class accepts that an option fills, None for options that fill no class."""
    kind = _inner_type(action.type)
    if getattr(kind, "__name__", "") != "parse_dataclass":
        return None
    from pydantic import TypeAdapter

    cls = kind.__defaults__[0]
    schema = _schema_of(TypeAdapter(cls))
    return _Prober(TypeAdapter(cls), schema).shape(schema, ())


_INTERNAL = ("target_model_config", "target_parallel_config", "draft_model_config", "draft_parallel_config",
             "draft_load_config")  # fmt: skip
"""Fields of `SpeculativeConfig` that vLLM fills in by itself."""
_OF_OTHER_METHODS = (
    "method", "model", "use_heterogeneous_vocab", "rejection_sample_method", "synthetic_acceptance_rates",
    "synthetic_acceptance_length", "acceptance_method", "typical_acceptance_sampler_posterior_threshold",
    "typical_acceptance_sampler_posterior_alpha", "speculative_token_tree",
)  # fmt: skip
"""Fields whose values depend on others, or on a draft model: known keys that no sample judges."""


def _speculation_shape() -> _Json:
    """Return what `SpeculativeConfig` accepts beside a method without a draft model; no argparse type builds it."""
    from pydantic import TypeAdapter
    from vllm.config import SpeculativeConfig

    adapter = TypeAdapter(SpeculativeConfig)
    schema = _schema_of(adapter)
    schema["properties"] = {name: one for name, one in schema["properties"].items() if name not in _INTERNAL}
    shape = _Prober(adapter, schema, {"method": "ngram", "num_speculative_tokens": 1}).shape(schema, ())
    shape["fields"].update({name: {} for name in _OF_OTHER_METHODS if name in shape["fields"]})
    return shape


class _Prober:
    """Asks a class what it accepts, value by value: validators and init hooks say nothing of that in a schema."""

    def __init__(self, adapter: Any, schema: _Json, always: _Json | None = None) -> None:
        """Take the class and its JSON Schema, which names its fields; `always` is beside every value."""
        self.adapter, self.definitions, self.always = adapter, schema.get("$defs", {}), always or {}

    def shape(self, schema: _Json, path: tuple[str, ...]) -> _Json:
        """Return the keys below a path and what each accepts, and whether others are let pass."""
        fields = {name: self._field(inner, (*path, name)) for name, inner in schema.get("properties", {}).items()}
        for name, field in fields.items():
            if set(field["accepts"]) <= {"null"} and not field.get("words") and "fields" not in field:
                field.update(self._with_company(schema["properties"][name], (*path, name), fields))
        return {"is_open": self.fits((*path, "not_a_key"), 1), "fields": fields}

    def fits(self, path: tuple[str, ...], value: object, besides: tuple[str, object] | None = None) -> bool:
        """Return whether the class accepts a value at a path, with one more beside it."""
        content: Any = value
        for depth, name in enumerate(reversed(path)):
            content = {name: content}
            if besides is not None and depth == 0:
                content[besides[0]] = besides[1]
        try:
            self.adapter.validate_json(json.dumps({**self.always, **content}))
        except Exception:
            return False
        return True

    def _field(self, schema: _Json, path: tuple[str, ...]) -> _Json:
        found: _Json = {"accepts": [kind for kind, sample in _SAMPLES.items() if self.fits(path, sample)]}
        if "empty list" in found["accepts"] and not any(kind.startswith("list") for kind in found["accepts"]):
            found["accepts"] += ["list of numbers", "list of texts"]  # elements of a vocabulary that no sample is of
        numbers = [number for number in self._numbers(schema) if self.fits(path, number)]
        if numbers and "whole" not in found["accepts"]:
            found["numbers"] = numbers
        words = self._words(schema)
        if "text" not in found["accepts"] and words:
            found["words"] = [word for word in words if self.fits(path, word)]
        bounds = _bounds_of(schema)
        least = bounds.get("min", bounds.get("above", 0) + 1)
        if "whole" not in found["accepts"] and bounds and self.fits(path, least):
            found["accepts"].append("whole")
        below = self._resolved(schema)
        if below.get("properties") and len(path) < 3:
            found.update(self.shape(below, path))
        return {**found, **bounds} if bounds else found

    def _with_company(self, schema: _Json, path: tuple[str, ...], fields: _Json) -> _Json:
        """Return what a field accepts beside another one, where alone it accepts nothing."""
        for other, field in fields.items():
            samples = [*field.get("words", ()), *(_SAMPLES[kind] for kind in field.get("accepts", ()))]
            for value in samples:
                company = (other, value)
                kinds = [kind for kind, sample in _SAMPLES.items() if self.fits(path, sample, company)]
                words = [word for word in self._words(schema) if self.fits(path, word, company)]
                if other != path[-1] and (set(kinds) - {"null"} or words):
                    return {"accepts": kinds, "needs": other, **({"words": words} if "text" not in kinds else {})}
        return {}

    def _resolved(self, schema: _Json) -> _Json:
        for one in schema.get("anyOf", schema.get("allOf", [schema])):
            reference = one.get("$ref")
            if reference is not None:
                found: _Json = self.definitions[reference.rpartition("/")[2]]
                return found
        return schema

    def _numbers(self, schema: _Json) -> list[int]:
        """Return the numbers of a field's enumeration."""
        listed = [number for one in (schema, *schema.get("anyOf", ())) for number in one.get("enum", ())]
        return [number for number in listed if isinstance(number, int) and not isinstance(number, bool)]

    def _words(self, schema: _Json) -> list[str]:
        """Return the words of a field's enumerations, also by the names of their members, in both cases."""
        words: set[str] = set()
        for one in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ()), self._resolved(schema)):
            words.update(str(word) for word in [*one.get("enum", ()), *([one["const"]] if "const" in one else [])])
        return sorted(words | _ENUMERATED)


def _members() -> set[str]:
    """Return the names of the members of every enumeration in vLLM's configuration, in both cases."""
    import vllm.config as config
    from vllm.config import compilation

    modules = [config, compilation]
    with contextlib.suppress(ImportError):
        from vllm.attention.backends import registry

        modules.append(registry)
    with contextlib.suppress(ImportError):
        from vllm.v1.attention.backends import registry as registry_of_v1

        modules.append(registry_of_v1)
    found = {
        member.name
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, enum.Enum)
        for member in one
    }
    return found | {name.lower() for name in found}


_ENUMERATED: set[str] = set()


def _bounds_of(schema: _Json) -> _Json:
    for one in schema.get("anyOf", [schema]):
        told = {ours: one[theirs] for theirs, ours in _BOUNDS.items() if theirs in one}
        if told and one.get("type") in ("integer", "number"):
            return told
    return {}


def _schema_of(adapter: Any) -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Lenient(GenerateJsonSchema):
        """What has no JSON Schema is left open."""

        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:
            return {}

        def emit_warning(self, kind: Any, detail: str) -> None:
            return None

    return adapter.json_schema(schema_generator=Lenient)


def _bounds() -> _Json:
    """Return the bounds of the numbers in the classes of the engine's configuration, by the option's destination."""
    import vllm.config as config
    from pydantic import TypeAdapter

    found: _Json = {}
    for name in sorted(vars(config)):
        cls = getattr(config, name)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and name.endswith("Config")):
            continue
        try:
            properties = _schema_of(TypeAdapter(cls))
        except Exception:  # noqa: S112  (a class that pydantic cannot describe has no bounds)
            continue
        definitions = properties.get("$defs", {})
        properties = definitions.get(name, properties).get("properties", {})
        for field, schema in properties.items():
            told = _bounds_of(schema)
            if told:
                found.setdefault(field, told)
    return found


def _plain(value: object) -> Any:
    if isinstance(value, (str, int, float, bool)):
        return str(value.value) if hasattr(value, "value") else value
    return None


def vocabularies() -> _Json:
    """Return the names that vLLM looks up when the server starts."""
    try:
        from vllm.tool_parsers import ToolParserManager
    except ImportError:
        from vllm.entrypoints.openai.tool_parsers import ToolParserManager
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    from vllm.reasoning import ReasoningParserManager

    found = {
        "tool-call-parser": sorted(ToolParserManager.list_registered()),
        "reasoning-parser": sorted(ReasoningParserManager.list_registered()),
        "quantization": sorted(QUANTIZATION_METHODS),
    }
    with contextlib.suppress(ImportError):
        from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

        found["kv-connector"] = sorted(KVConnectorFactory._registry)
    with contextlib.suppress(ImportError):
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        found["attention-backend"] = sorted(AttentionBackendEnum.__members__)
    return found


def _numbers() -> _Json:
    """Return how sizes such as 80g are read: whether with a suffix for tera, and inside JSON."""
    from vllm.engine import arg_utils

    try:
        has_tera = arg_utils.human_readable_int("1t") == 10**12
    except ValueError:
        has_tera = False
    return {"has_tera": has_tera, "expands_sizes": hasattr(arg_utils, "_expand_json_human_readable_numbers")}


def main() -> None:
    """Print the options, their shapes and the vocabularies."""
    vllm_on_cpu.prepare()
    names = vocabularies()
    _ENUMERATED.update(_members(), names["reasoning-parser"])
    options, shapes = described(parser_of_server())
    print(json.dumps({**_numbers(), "options": options, "shapes": shapes, "vocabularies": names}))


if __name__ == "__main__":
    main()
