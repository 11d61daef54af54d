"""Run texts of an `inference_config.yaml` through Kaito's own launcher and vLLM's own parser and configuration.

    python vllm_runner.py KAITO_FOLDER TEXTS OUT [--stage parse]

`KAITO_FOLDER` has inference_api.py of Kaito's tag (presets/workspace/inference/vllm), and rate_limit.py where the tag
has one; `PYTHONPATH` has the Python files of the release's vLLM wheel. Nothing of either is changed; what a CPU does
not have is replaced (`vllm_on_cpu.py`). `CONTROLLER` in the environment has the controller's arguments as JSON. The
model is a folder with the configuration of Llama 3.1 8B and a byte-level tokenizer. It stops before weights are loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import enum
import importlib.util
import io
import json
import logging
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import vllm_on_cpu


def write_model(folder: Path) -> str:
    """Write the configuration of Llama 3.1 8B and a tokenizer with its special tokens; return the path."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "torch_dtype": "bfloat16",
        "bos_token_id": 128000, "eos_token_id": 128009, "hidden_act": "silu", "tie_word_embeddings": False,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3",
                         "original_max_position_embeddings": 8192},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 128000, "eos_token_id": [128009], "temperature": 0.6, "top_p": 0.9}), "utf-8"
    )
    vocabulary = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
               "<|python_tag|>", "<|eom_id|>", "<|finetune_right_pad_id|>"]  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token="<|eot_id|>",  # noqa: S106
                                   additional_special_tokens=special[2:])  # fmt: skip
    fast.save_pretrained(str(folder))
    return str(folder)


def load_launcher(folder: str) -> Any:
    """Return Kaito's inference_api.py as a module, with the memory of the pretended GPU."""
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("inference_api", Path(folder) / "inference_api.py")
    assert spec is not None
    assert spec.loader is not None
    launcher = importlib.util.module_from_spec(spec)
    sys.modules["inference_api"] = launcher
    with _given_memory():
        spec.loader.exec_module(launcher)
    if hasattr(launcher, "_query_gpu_mem_info"):
        launcher._query_gpu_mem_info = lambda _: (int(vllm_on_cpu.GPU_BYTES * 0.9945), vllm_on_cpu.GPU_BYTES)
    return launcher


@contextlib.contextmanager
def _given_memory() -> Iterator[None]:
    import pynvml  # the stub

    pynvml.nvmlInit = pynvml.nvmlShutdown = lambda: None
    pynvml.nvmlDeviceGetHandleByIndex = lambda index: index
    pynvml.nvmlDeviceGetMemoryInfo = lambda _: types.SimpleNamespace(
        free=int(vllm_on_cpu.GPU_BYTES * 0.9945), total=vllm_on_cpu.GPU_BYTES
    )
    yield


class Chain:
    """The road of one text: Kaito's parser, vLLM's parser, its checks, and the engine's configuration."""

    def __init__(self, launcher: Any, controller: list[str], stage: str) -> None:
        """Build the parser once, as the launcher does at its start."""
        self.launcher, self.controller, self.stage = launcher, controller, stage
        self.parser = launcher.KAITOArgumentParser(description="KAITO wrapper of vLLM serving server")
        self.plain: dict[str, Any] = {}

    def run(self, text: str) -> dict[str, Any]:
        """Return the stage and the message of a stop, else the values that differ from those without a text."""
        with tempfile.NamedTemporaryFile("wb", suffix=".yaml", delete=False) as file:
            file.write(text.encode("utf-8"))
        errors, found = io.StringIO(), dict[str, Any]()
        stage = ["kaito"]
        try:
            with (contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()),
                  warnings.catch_warnings()):  # fmt: skip
                warnings.simplefilter("ignore")
                found = self._run(file.name, stage)
        except SystemExit as error:
            lines = [line for line in errors.getvalue().splitlines() if ": error: " in line]
            message = lines[-1].split(": error: ", 1)[1] if lines else ""
            found = {"stage": stage[0], "error": f"exit {error.code}: {message}"}
        except BaseException as error:
            message = " ".join(str(error).split())
            found = {"stage": stage[0], "error": f"{type(error).__name__}: {message}"}
            if os.environ.get("SHOW"):
                import traceback

                traceback.print_exc()
        finally:
            os.unlink(file.name)
        return found

    def _run(self, path: str, stage: list[str]) -> dict[str, Any]:
        for name in [name for name in os.environ if name.startswith("LMCACHE_")]:
            del os.environ[name]
        arguments = copy.deepcopy(self.parser.parse_args([*self.controller, f"--kaito-config-file={path}"]))
        values = {name: _shown(value) for name, value in vars(arguments).items() if name != "kaito_config_file"}
        stage[0] = "launcher"
        if arguments.lora_modules is None:
            arguments.lora_modules = self.launcher.load_lora_adapters(arguments.kaito_adapters_dir)
        offload = getattr(self.launcher, "set_kv_transfer_config_if_applicable", None)
        (offload or self.launcher.set_kv_cache_offloading_if_appliable)(arguments)
        values["kv_transfer_config"] = _shown(arguments.kv_transfer_config)
        if hasattr(self.launcher, "rate_limit"):
            arguments.middleware = [*(arguments.middleware or []), "rate_limit.RateLimitMiddleware"]
        if self.stage == "engine":
            self._configure(arguments, stage)
        return {"values": values}

    def _configure(self, arguments: argparse.Namespace, stage: list[str]) -> None:
        stage[0] = "server"
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.openai.cli_args import validate_parsed_serve_args
        from vllm.usage.usage_lib import UsageContext

        validate_parsed_serve_args(arguments)
        checked = getattr(self.launcher.api_server, "validate_api_server_args", None)
        if checked is not None:
            checked(arguments)
        stage[0] = "engine"
        engine = AsyncEngineArgs.from_cli_args(arguments)
        engine.create_engine_config(UsageContext.OPENAI_API_SERVER)
        stage[0] = "server"
        from vllm.entrypoints.chat_utils import load_chat_template  # the server loads it beside the engine

        load_chat_template(arguments.chat_template)


def _shown(value: object) -> Any:
    """Return a value as JSON that says what it is."""
    import dataclasses

    if isinstance(value, enum.Enum):
        return _shown(value.value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple, set)):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _shown(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = getattr(value, "__pydantic_fields_set__", None)
        names = [field.name for field in dataclasses.fields(value) if given is None or field.name in given]
        return {name: _shown(getattr(value, name, None)) for name in names if not name.startswith("_")}
    return repr(value)


def _difference(values: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Return the values that differ from those without a text, also in their type alone."""
    return {name: value for name, value in values.items()
            if value != plain.get(name, "") or type(value) is not type(plain.get(name))}  # fmt: skip


def main() -> None:
    """Write a record for each text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kaito")
    parser.add_argument("texts")
    parser.add_argument("out")
    parser.add_argument("--stage", default="engine")
    options = parser.parse_args()
    vllm_on_cpu.prepare()
    os.chdir(options.kaito)
    launcher = load_launcher(options.kaito)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "model")
        controller = [one.replace("MODEL", model) for one in json.loads(os.environ["CONTROLLER"])]
        chain = Chain(launcher, controller, options.stage)
        plain = chain.run("vllm: {}\n").get("values", {})
        with open(options.texts, encoding="utf-8") as texts, open(options.out, "w", encoding="utf-8") as out:
            for line in texts:
                text = json.loads(line)
                found = chain.run(text)
                if "values" in found:
                    found = {"changed": _difference(found["values"], plain)}
                out.write(json.dumps(found).replace(folder, "") + "\n")
                out.flush()


if __name__ == "__main__":
    main()
