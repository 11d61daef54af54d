"""What vLLM's configuration refuses of values that its parser accepts (`schemas/inference_config/engine.json`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from kaitoc.compiler.catalog.library_changes import version_number
from kaitoc.compiler.kaito.image_templates import image_templates
from kaitoc.compiler.kaito.served_name import may_be_model
from kaitoc.compiler.kaito.vllm_compilation_config import merged_faults, size_faults
from kaitoc.compiler.kaito.vllm_conditions import applies
from kaitoc.compiler.kaito.vllm_engine_problem import EngineFacts, EngineProblem, EngineProblemKind
from kaitoc.compiler.kaito.vllm_options import ServingTable
from kaitoc.compiler.kaito.vllm_overrides import overrides_fault, positions_of
from kaitoc.compiler.kaito.vllm_parser import ServedValue, ServingParse
from kaitoc.compiler.kaito.vllm_speculative_config import speculation_fault
from kaitoc.compiler.kaito.vllm_value_shapes import as_read
from kaitoc.schemas import read_json

_DTYPES = {"half": "float16", "float": "float32"}
"""Other words for a data type."""
SERVING_FILE = "inference_config.yaml"


@lru_cache(maxsize=1)
def _data() -> Mapping[str, Any]:
    data: Mapping[str, Any] = read_json("inference_config/engine")
    return data


def engine_problems(parse: ServingParse, table: ServingTable, facts: EngineFacts) -> Iterator[EngineProblem]:
    """Yield what the configuration refuses; each names a pair of the config."""
    judge = _Judge(parse, table, facts)
    seen: set[str] = set()
    for problem in (*judge.bounds(), *judge.conditions(), *judge.names(), *judge.sizes(), *judge.layout()):
        if problem.option not in seen:
            seen.add(problem.option)
            yield problem


class _Judge:
    """The effective values, and what is asked of them."""

    def __init__(self, parse: ServingParse, table: ServingTable, facts: EngineFacts) -> None:
        self.table, self.facts = table, facts
        self.values = {name: self._as_read(name, served) for name, served in parse.values.items()}
        self.by_config = {name: served for name, served in self.values.items() if served.index >= 0}

    def _as_read(self, name: str, served: ServedValue) -> ServedValue:
        """Return a value as its class reads it: one that takes JSON makes numbers of text."""
        shape = self.table.content["shapes"].get(name) if isinstance(served.value, dict) else None
        return served if shape is None else ServedValue(as_read(served.value, shape), served.index, served.word)

    def value(self, name: str) -> object:
        """Return the value of an option: as it is set, else its default."""
        served = self.values.get(name)
        if served is not None:
            return served.value
        option = self.table.option(name)
        return option.default if option is not None else None

    def _number(self, name: str) -> float | None:
        value = self.value(name)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def _problem(self, kind: EngineProblemKind, name: str, message: str, known: tuple[str, ...] = ()) -> EngineProblem:
        return EngineProblem(kind, self.by_config[name].index, name, message, known)

    def bounds(self) -> Iterator[EngineProblem]:
        """Yield numbers outside the bounds of their class."""
        for name, served in self.by_config.items():
            option, value = self.table.option(name), served.value
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if option is None or not self._is_read(name):
                continue
            # Written so that NaN, which compares with nothing, is refused as pydantic refuses it.
            if option.least is not None and not value >= option.least:
                yield self._problem(EngineProblemKind.BOUND, name, f"must be at least {option.least:g}")
            elif option.above is not None and not value > option.above:
                yield self._problem(EngineProblemKind.BOUND, name, f"must be above {option.above:g}")
            elif option.most is not None and not value <= option.most:
                yield self._problem(EngineProblemKind.BOUND, name, f"must be at most {option.most:g}")
            elif option.below is not None and not value < option.below:
                yield self._problem(EngineProblemKind.BOUND, name, f"must be below {option.below:g}")

    def _is_read(self, name: str) -> bool:
        """Return whether vLLM reads an option: those of adapters and of images only where there are any."""
        if name in ("max-loras", "max-cpu-loras"):
            return self.value("enable-lora") is True
        return not (self.facts.is_text and (name.startswith("mm-") or name == "video-pruning-rate"))

    def _set_value(self, name: str) -> object:
        """Return the value of an option that is set, None where it has its default."""
        served = self.values.get(name)
        return served.value if served is not None else None

    def conditions(self) -> Iterator[EngineProblem]:
        """Yield values that a condition refuses."""
        number = version_number(self.table.release)
        for condition in _data()["conditions"]:
            name = condition["option"]
            if name not in self.by_config or not _is_in(condition, number):
                continue
            if self._is_meant(condition) and applies(condition, self.by_config[name].value, self._set_value):
                yield self._problem(EngineProblemKind.CONDITION, name, str(condition["because"]))

    def _is_meant(self, condition: Mapping[str, Any]) -> bool:
        facts = self.facts
        return (
            (not condition.get("if_text_model") or facts.is_text)
            and (not condition.get("if_dense_model") or facts.is_dense)
            and (not condition.get("if_offloading") or facts.offloads)
        )

    def names(self) -> Iterator[EngineProblem]:
        """Yield names that the server looks up and does not find."""
        yield from self._parsers()
        yield from self._quantization()
        yield from self._connector()
        yield from self._speculation()
        yield from self._contradictions()
        yield from self._own_config()
        backend = self.by_config.get("attention-backend")
        backends = self.table.vocabularies.get("attention-backend", ())
        if backend is not None and backends and str(backend.value or backends[0]).upper() not in backends:
            yield self._problem(EngineProblemKind.NAME, "attention-backend", "is not a vLLM backend", tuple(backends))
        for name in ("model", "tokenizer", "hf-config-path", "spec-model"):
            served = self.by_config.get(name)
            if served is not None and served.value is not None and not may_be_model(str(served.value), name):
                message = "is neither the id of a model on the hub nor a folder"
                yield self._problem(EngineProblemKind.NAME, name, message)
        template = self.by_config.get("chat-template")
        if template is not None and isinstance(template.value, str):
            yield from self._template(template.value)

    def _own_config(self) -> Iterator[EngineProblem]:
        """Yield a file of vLLM's own that is not YAML or not there: files of the ConfigMap are under /mnt/config."""
        served = self.by_config.get("config")
        path = str(served.value) if served is not None else ""
        folder, _, name = path.rpartition("/")
        if served is not None and not path.endswith((".yaml", ".yml")):
            yield self._problem(EngineProblemKind.NAME, "config", "is not a YAML file")
        elif served is not None and (folder != "/mnt/config" or name not in self.facts.config_keys):
            yield self._problem(EngineProblemKind.NAME, "config", "is not a file in the pod")
        elif served is not None and name == SERVING_FILE:
            message = "is Kaito's own file, whose key `vllm` is no option of vLLM: name another key of the ConfigMap"
            yield self._problem(EngineProblemKind.NAME, "config", message)

    def _parsers(self) -> Iterator[EngineProblem]:
        served = self.by_config.get("tool-call-parser")
        names = self.table.vocabularies["tool-call-parser"]
        if served is not None and served.value not in names and self.value("enable-auto-tool-choice") is True:
            message = (
                "is not a tool parser of this vLLM" if served.value is not None else "needs a value: tool choice is on"
            )
            yield self._problem(EngineProblemKind.PARSER, "tool-call-parser", message, tuple(names))
        for name in ("reasoning-parser", "structured-outputs-config", "reasoning-config"):
            served = self.by_config.get(name)
            if served is None:
                continue
            value = served.value.get("reasoning_parser") if isinstance(served.value, dict) else served.value
            known = self.table.vocabularies["reasoning-parser"]
            if isinstance(value, str) and value and value not in known:
                if name == "reasoning-parser" and self.table.content["ignores_reasoning_parser"]:
                    continue
                yield self._problem(EngineProblemKind.PARSER, name, "is not a reasoning parser of vLLM", tuple(known))
            elif name == "reasoning-parser" and self._lacks_tokens(value):
                message = "needs tokens that mark reasoning, which this model's tokenizer does not have"
                yield self._problem(EngineProblemKind.PARSER, name, message)

    def _lacks_tokens(self, parser: object) -> bool:
        return self.facts.lacks_think_tokens and parser in self.table.content["refused_without_tokens"]

    def _quantization(self) -> Iterator[EngineProblem]:
        known = tuple(self.table.vocabularies["quantization"])
        overrides = self.by_config.get("hf-overrides")
        config = overrides.value.get("quantization_config") if overrides and isinstance(overrides.value, dict) else None
        method = config.get("quant_method") if isinstance(config, dict) else None
        if isinstance(method, str) and method.lower() not in known:
            message = "sets a `quant_method` that is not one of this vLLM's"
            yield self._problem(EngineProblemKind.QUANTIZATION, "hf-overrides", message, known)
        served = self.by_config.get("quantization")
        if served is None or served.value is None:
            return
        if str(served.value).lower() not in known:
            yield self._problem(
                EngineProblemKind.QUANTIZATION, "quantization", "is not a quantization method of this vLLM", known
            )
        elif self._is_refused_on_plain_weights(str(served.value).lower()):
            message = "needs weights that are quantized this way, and this model's are not"
            yield self._problem(EngineProblemKind.QUANTIZATION, "quantization", message)
        elif self._dtype() in self.table.content["refused_dtypes"].get(str(served.value).lower(), ()):
            message = f"does not work with `dtype: {self.value('dtype')}`"
            yield self._problem(EngineProblemKind.QUANTIZATION, "quantization", message)

    def _is_refused_on_plain_weights(self, method: str) -> bool:
        is_refused = method in self.table.content["refused_on_plain_weights"]
        is_allowed = method in self.table.content["merely_deprecated"] and self.value("allow-deprecated-quantization")
        is_plain = self.facts.quantization == "" and "quantization_config" not in self._overrides()
        return is_refused and is_plain and not is_allowed

    def _dtype(self) -> str:
        dtype = str(self.value("dtype"))
        return _DTYPES.get(dtype, dtype)

    def _speculation(self) -> Iterator[EngineProblem]:
        found = speculation_fault(self._set_value, self.table, self.facts)
        if found is not None and found.option in self.by_config:
            yield self._problem(EngineProblemKind.CONDITION, found.option, found.message, found.known)

    def _contradictions(self) -> Iterator[EngineProblem]:
        config = self.by_config.get("attention-config")
        is_double = config is not None and isinstance(config.value, dict) and config.value.get("backend")
        if is_double and self._set_value("attention-backend") is not None:
            message = "sets `backend`, which `attention-backend` sets too"
            yield self._problem(EngineProblemKind.CONDITION, "attention-config", message)
        for name, message in merged_faults(self._set_value):
            if name in self.by_config:
                yield self._problem(EngineProblemKind.CONDITION, name, message)
        if self._set_value("enforce-eager") is not True:
            yield from self._graph_sizes()

    def _graph_sizes(self) -> Iterator[EngineProblem]:
        served = self.by_config.get("compilation-config")
        for message in size_faults(served.value) if served is not None and isinstance(served.value, dict) else ():
            yield self._problem(EngineProblemKind.CONDITION, "compilation-config", message)

    def _connector(self) -> Iterator[EngineProblem]:
        served = self.by_config.get("kv-transfer-config")
        known = self.table.vocabularies.get("kv-connector", ())
        if served is None or not isinstance(served.value, dict) or not self.table.content["checks_connector"]:
            return
        connector = served.value.get("kv_connector")
        if connector is None and not self.table.content["checks_connector_name"]:
            return
        if connector is None or (connector not in known and "kv_connector_module_path" not in served.value):
            message = "names no KV connector of vLLM" if connector is not None else "needs `kv_connector`"
            yield self._problem(EngineProblemKind.NAME, "kv-transfer-config", message, tuple(known))

    def _template(self, value: str) -> Iterator[EngineProblem]:
        if any(character in value for character in _data()["chat_template_characters"]):
            return
        if value in image_templates(self.table.release):
            return
        folder, _, name = value.rpartition("/")
        if value.startswith("/mnt/") and not (folder == "/mnt/config" and name not in self.facts.config_keys):
            return
        message = "is neither a template nor a file in Kaito's image"
        yield self._problem(
            EngineProblemKind.TEMPLATE, "chat-template", message, tuple(self.table.content["chat_templates"])
        )

    def sizes(self) -> Iterator[EngineProblem]:
        """Yield lengths and batches that contradict the model or each other."""
        length = self._number("max-model-len")
        limit, owner = self._length_limit()
        is_fitted = length is None or (length < 0 and self.table.content["may_fit_length"])
        if "max-model-len" in self.by_config and length is not None:
            if length == 0 or (length < 0 and not is_fitted):
                yield self._problem(EngineProblemKind.LENGTH, "max-model-len", "must be at least 1")
            elif limit is not None and length > limit:
                way_out = "" if self._overrides() else "; only `hf-overrides` can extend it"
                message = f"is more than the {int(limit):,} tokens that {owner}{way_out}"
                yield self._problem(EngineProblemKind.LENGTH, "max-model-len", message)
        if "hf-overrides" in self.by_config:
            fault = overrides_fault(self._overrides(), self.table, self.facts)
            if fault:
                yield self._problem(EngineProblemKind.CONDITION, "hf-overrides", fault)
            elif self.facts.is_text and limit is not None and limit < 1:
                yield self._problem(EngineProblemKind.LENGTH, "hf-overrides", "leaves the model no context")
        yield from self._batch(limit if is_fitted else length)  # a length that is fitted begins as the longest
        loras, kept = self._number("max-loras"), self._number("max-cpu-loras")
        # vLLM takes 0 and less for unset (`create_engine_config`).
        if self.value("enable-lora") is True and loras is not None and kept is not None and 0 < kept < loras:
            name = "max-cpu-loras" if "max-cpu-loras" in self.by_config else "max-loras"
            yield self._problem(EngineProblemKind.BATCH, name, "must be at least `max-loras`")

    def _overrides(self) -> Mapping[str, object]:
        overrides = self._set_value("hf-overrides")
        return overrides if isinstance(overrides, dict) else {}

    def _length_limit(self) -> tuple[float | None, str]:
        """Return the longest context that vLLM allows, None where that is not known, and what sets it."""
        overrides, limit = self._overrides(), self.facts.max_length
        if not self.facts.is_text:
            is_open = any(key in _data()["length_keys"] for key in overrides)
            return (None if is_open else limit), "the model has"
        derived = positions_of(overrides, self.table, self.facts).length if overrides else limit
        return derived, "the model has" if derived == limit else "`hf-overrides` leaves the model"

    def _batch(self, length: float | None) -> Iterator[EngineProblem]:
        sequences, tokens = self._number("max-num-seqs"), self._number("max-num-batched-tokens")
        default_tokens = self.table.content["default_batched_tokens"]
        named = next((one for one in ("max-num-seqs", "max-num-batched-tokens") if one in self.by_config), None)
        if named is None or self.value("performance-mode") not in (None, "balanced", "interactivity"):
            return
        is_chunked = self.value("enable-chunked-prefill") is not False
        if sequences is not None and is_chunked and sequences > (tokens if tokens is not None else default_tokens):
            shown = f"{int(tokens or default_tokens):,}"
            message = f"must be at most `max-num-batched-tokens`, which is {shown}"
            yield self._problem(EngineProblemKind.BATCH, named, message)
        elif tokens is not None and not is_chunked and length is not None and 0 < tokens < length:
            message = f"must be at least `max-model-len` ({int(length):,}) where chunked prefill is off"
            if "max-num-batched-tokens" in self.by_config:
                yield self._problem(EngineProblemKind.BATCH, "max-num-batched-tokens", message)

    def layout(self) -> Iterator[EngineProblem]:
        """Yield layouts that the GPUs of a node, or each other, do not allow."""
        names = ("tensor-parallel-size", "pipeline-parallel-size", "prefill-context-parallel-size",
                 "data-parallel-size")  # fmt: skip
        sizes = {name: int(self._number(name) or 1) for name in names}
        tensor, data = sizes["tensor-parallel-size"], sizes["data-parallel-size"]
        written = [name for name in names if name in self.by_config]
        num_workers = tensor * sizes["pipeline-parallel-size"] * sizes["prefill-context-parallel-size"] * max(1, data)
        executor = "distributed-executor-backend"
        written += [executor] if executor in self.by_config else []
        num_gpus, name = self.facts.num_gpus, written[0] if written else ""
        nodes = self.facts.num_nodes if self.value(executor) == "ray" else 1
        if name and num_gpus is not None and num_workers > num_gpus * nodes:
            shown = " x ".join(f"{one} {size}" for one, size in sizes.items() if size > 1)
            owner = "the instance type has" if nodes == 1 else f"the {nodes} nodes that Kaito starts have"
            message = f"asks for {num_workers} GPUs ({shown}); {owner} {num_gpus * nodes}"
            yield self._problem(EngineProblemKind.LAYOUT, name, message)
        local = self._number("data-parallel-size-local")
        if "data-parallel-size-local" in self.by_config and local is not None and local > data:
            message = f"must be at most `data-parallel-size`, which is {data}"
            yield self._problem(EngineProblemKind.LAYOUT, "data-parallel-size-local", message)
        context = self._number("decode-context-parallel-size")
        if (
            context is not None
            and "decode-context-parallel-size" in self.by_config
            and (not context or tensor % context)
        ):
            message = f"must divide `tensor-parallel-size`, which is {tensor}"
            yield self._problem(EngineProblemKind.LAYOUT, "decode-context-parallel-size", message)


def _is_in(condition: Mapping[str, Any], release: tuple[int, ...]) -> bool:
    since, until = condition.get("since"), condition.get("until")
    return (since is None or version_number(since) <= release) and (until is None or release <= version_number(until))
