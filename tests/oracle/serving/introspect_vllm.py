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
from value_prober import Prober, bounds_of, own_words

_Json = dict[str, Any]
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


def described(parser: argparse.ArgumentParser, enumerated: set[str]) -> tuple[_Json, _Json]:
    """Return the options by name, and the shapes of those that take JSON, whose fields may take enumerated words."""
    bounds = _bounds()
    options: _Json = {}
    shapes: _Json = {}
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or not action.option_strings:
            continue
        name = next(one for one in action.option_strings if one.startswith("--")).removeprefix("--")
        entry = _entry(action)
        entry.update(bounds.get(action.dest, {}) if entry["kind"] in ("int", "float", "size", "size-or-auto") else {})
        shape = _shape(action, enumerated)
        if shape is not None:
            shapes[name] = shape
        options[name] = entry
    shapes["speculative-config"] = _speculation_shape(enumerated)
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


def _shape(action: argparse.Action, enumerated: set[str]) -> Any:
    """Return what the class accepts that an option fills, None for options that fill no class."""
    kind = _inner_type(action.type)
    if getattr(kind, "__name__", "") != "parse_dataclass":
        return None
    from pydantic import TypeAdapter

    cls = kind.__defaults__[0]
    schema = _schema_of(TypeAdapter(cls))
    return Prober(TypeAdapter(cls), schema, enumerated).shape(schema, ())


_INTERNAL = ("target_model_config", "target_parallel_config", "draft_model_config", "draft_parallel_config",
             "draft_load_config")  # fmt: skip
"""Fields of `SpeculativeConfig` that vLLM fills in by itself."""
_OF_OTHER_METHODS = (
    "method", "model", "use_heterogeneous_vocab", "rejection_sample_method", "synthetic_acceptance_rates",
    "synthetic_acceptance_length", "acceptance_method", "typical_acceptance_sampler_posterior_threshold",
    "typical_acceptance_sampler_posterior_alpha", "speculative_token_tree",
)  # fmt: skip
"""Fields whose values depend on others, or on a draft model: no sample judges them, only their words are known."""


def _speculation_shape(enumerated: set[str]) -> _Json:
    """Return what `SpeculativeConfig` accepts beside a method without a draft model; no argparse type builds it."""
    from pydantic import TypeAdapter
    from vllm.config import SpeculativeConfig

    adapter = TypeAdapter(SpeculativeConfig)
    schema = _schema_of(adapter)
    schema["properties"] = {name: one for name, one in schema["properties"].items() if name not in _INTERNAL}
    shape = Prober(adapter, schema, enumerated, {"method": "ngram", "num_speculative_tokens": 1}).shape(schema, ())
    others = [name for name in _OF_OTHER_METHODS if name in shape["fields"]]
    shape["fields"].update({name: _listed(schema["properties"][name]) for name in others})
    return shape


def _listed(schema: _Json) -> _Json:
    """Return the words of a field whose value other fields decide: a word outside them is refused whatever they are."""
    words = own_words(schema)
    return {"accepts": ["null"], "words": words} if words else {}


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
            told = bounds_of(schema)
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
    options, shapes = described(parser_of_server(), _members() | set(names["reasoning-parser"]))
    print(json.dumps({**_numbers(), "options": options, "shapes": shapes, "vocabularies": names}))


if __name__ == "__main__":
    main()
