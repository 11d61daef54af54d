"""Loads the tokenizer and the model, quantized or not, and says why when that fails."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.import_utils import is_flash_attn_2_available

from kaitoc.compiler.catalog.gpus import AMPERE
from kaitoc.compiler.plan.plan import Plan
from kaitoc.runtime.failures import ModelFailure, in_words
from kaitoc.runtime.model.hub import is_cached, looks_like_path
from kaitoc.runtime.model.quantization import quantization_config, tell_unquantized
from kaitoc.runtime.model.shard_loading import has_no_values, reading_once
from kaitoc.runtime.model.tokenizer import apply_stated
from kaitoc.runtime.notes import note
from kaitoc.runtime.out_of_memory import is_out_of_memory
from kaitoc.runtime.world import is_main_process

_ATTENTION = {"auto": None, "eager": "eager", "sdpa": "sdpa", "flash": "flash_attention_2"}
_ADAPTER = "adapter_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def _dtype(name: str) -> Any:
    return "auto" if name == "auto" else getattr(torch, name)


def require_model(plan: Plan) -> None:
    """Raise `ModelFailure` unless there is a folder with a model, or the hub may be asked or its cache has it."""
    folder = Path(plan.model.path)
    if folder.is_dir():
        if (folder / _ADAPTER).is_file():
            raise _adapted(plan)
        if not (folder / "config.json").is_file():
            raise ModelFailure(f"{folder}: no config.json in it, so it holds no model")
        _require_weights(folder, allow_pickle=plan.model.allow_pickle)
        return
    if looks_like_path(plan.model.path):
        near = get_close_matches(folder.name, [place.name for place in folder.parent.glob("*/")], n=1)
        hint = f"; did you mean {folder.with_name(near[0])}?" if near else "; name the model's folder with --model-path"
        raise ModelFailure(f"{plan.model.path}: no such folder{hint}")
    if not plan.model.hub and not is_cached(plan.model.path, plan.model.revision):
        raise ModelFailure(
            f"{plan.model.path}: no such folder, and no such model in the hub's cache; --hub downloads it, "
            "--model-path names a folder"
        )


def _adapted(plan: Plan) -> ModelFailure:
    """Return the failure of a model that comes with an adapter, which transformers loads into it, or with its base."""
    return ModelFailure(
        f"{plan.model.path}: holds an adapter ({_ADAPTER}), which would be loaded into the model that is trained; "
        "name the folder of the base model, or of a merged one"
    )


def _require_weights(folder: Path, *, allow_pickle: bool) -> None:
    """Raise `ModelFailure` for a folder without weights, or with pickled ones: loading a pickle can run any code."""
    if any(folder.glob("*.safetensors")):
        return
    pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
    if not pickles:
        raise ModelFailure(f"{folder}: no weights in it (*.safetensors); copy all of the model's files there")
    if not allow_pickle:
        raise ModelFailure(
            f"{folder}: its weights are pickled ({pickles[0]}), which can run code when they are loaded; convert them "
            "to safetensors, or allow it with --allow-pickle when you trust them"
        )


def _from_pretrained(load: Callable[..., Any], plan: Plan, what: str, **options: Any) -> Any:
    """Load a plan's model or tokenizer from the cache, or from the hub where the plan allows it.

    Raises `ModelFailure`.
    """
    options = {"revision": plan.model.revision, "trust_remote_code": plan.model.trust_remote_code, **options}
    may_ask = plan.model.hub and not Path(plan.model.path).is_dir()
    try:
        return load(plan.model.path, local_files_only=True, **options)
    except Exception as error:
        if not may_ask or not isinstance(error, (OSError, ValueError)):
            raise _not_loaded(plan, what, error) from error
    try:
        return load(plan.model.path, **options)
    except Exception as error:
        raise _not_loaded(plan, what, error) from error


def _not_loaded(plan: Plan, what: str, error: Exception) -> Exception:
    """Return the failure to tell, or the error itself when memory was what lacked."""
    if is_out_of_memory(error):
        return error
    needs_code = "trust_remote_code" in str(error)
    reason = "it needs code of its own (`trust_remote_code`), which is not run" if needs_code else in_words(error)
    return ModelFailure(f"{plan.model.path}: {what} cannot be loaded: {reason}")


def load_config(plan: Plan) -> Any:
    """Return the model's config; raises `ModelFailure`."""
    return _from_pretrained(AutoConfig.from_pretrained, plan, "the config")


def load_tokenizer(plan: Plan) -> Any:
    """Return the tokenizer with what the plan states of it; raises `ModelFailure`."""
    tokenizer = _from_pretrained(AutoTokenizer.from_pretrained, plan, "the tokenizer")
    apply_stated(tokenizer, plan)
    return tokenizer


def load_model(plan: Plan, device: str) -> Any:
    """Return the base model in evaluation-ready form on a device; raises `ModelFailure`.

    Only safetensors are read unless the plan allows pickles, which can run code. A weight that is not there would be
    drawn at random, and trained as if it had been.
    """
    with reading_once(plan):
        model, loading_info = _from_pretrained(
            AutoModelForCausalLM.from_pretrained,
            plan,
            "the model",
            dtype=_dtype(plan.model.dtype),
            attn_implementation=_attention(plan, device),
            quantization_config=quantization_config(plan),
            use_safetensors=None if plan.model.allow_pickle else True,
            device_map=_device_map(plan, device),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise _adapted(plan)
    _require_complete(plan, loading_info)
    tell_unquantized(plan, model)
    if device == "cpu":
        keep_layout(model)
    return model


def _device_map(plan: Plan, device: str) -> dict[str, str] | None:
    """Choose the device map for loading, None for the CPU, from which the trainer moves the weights."""
    if has_no_values(plan):
        return {"": "meta"}
    return {"": device} if plan.quantization.method != "none" else None


def keep_layout(model: Any) -> None:
    """Have 4-bit layers keep the layout that they are trained in.

    On a CPU with AVX512-BF16 bitsandbytes packs them anew at the first evaluation, for a kernel that has no gradient
    and that fails on a layer with a bias (bitsandbytes 0.50, nn/modules.py and autograd/_functions.py).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _require_complete(plan: Plan, loading_info: dict[str, Any]) -> None:
    """Raise `ModelFailure` for weights that are missing or of another size; tell of those that have no use."""
    wrong = {
        "missing": sorted(loading_info["missing_keys"]),
        "of another size": sorted(str(entry[0]) for entry in loading_info["mismatched_keys"]),
    }
    for fault, names in wrong.items():
        if names:
            problem = f"{len(names)} are {fault}, the first: {names[0]}"
            raise ModelFailure(f"{plan.model.path}: the weights do not match config.json: {problem}")
    unused = sorted(loading_info["unexpected_keys"])
    if unused and is_main_process():
        note(f"model: {len(unused)} of its weights are not used, the first: {unused[0]}")


def _attention(plan: Plan, device: str) -> str | None:
    """Return transformers' name of the attention; flash attention that is not there gives way to PyTorch's own."""
    obstacle = _obstacle_to_flash(device) if plan.model.attention == "flash" else None
    if obstacle is None:
        return _ATTENTION[plan.model.attention]
    if is_main_process():
        note(f"attention: {obstacle}, so it is PyTorch's own (sdpa)")
    return _ATTENTION["sdpa"]


def _obstacle_to_flash(device: str) -> str | None:
    """Return why there is no flash attention here, None where there is.

    Source: flash-attn 2's `csrc/flash_attn/flash_api.cpp`: "FlashAttention only supports Ampere GPUs or newer".
    """
    if device == "cpu":
        return "a CPU has no flash attention"
    if torch.cuda.get_device_capability() < AMPERE:
        return f"flash attention is for Ampere and later, not {torch.cuda.get_device_name()}"
    return None if is_flash_attn_2_available() else "flash-attn is not installed"


def check_vocabulary(model: Any, tokenizer: Any) -> None:
    """Raise `ModelFailure` when the tokenizer has tokens that the model has no embedding for."""
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_embeddings:
        raise ModelFailure(f"the tokenizer has {len(tokenizer)} tokens, the model embeddings for {num_embeddings}")
