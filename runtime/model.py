"""Loads the tokenizer and the model, quantised or not, and says why when that fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from kaitoc.compiler.plan import Plan
from kaitoc.runtime.failures import ModelFailure
from kaitoc.runtime.sharding import is_sharded

_ATTENTION = {"auto": None, "eager": "eager", "sdpa": "sdpa", "flash": "flash_attention_2"}


def _dtype(name: str) -> Any:
    return "auto" if name == "auto" else getattr(torch, name)


_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def require_model(plan: Plan) -> None:
    """Raise `ModelFailure` unless a plan names a folder with a model, or what may be an id of the hub's cache."""
    folder = Path(plan.model.path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelFailure(f"{folder}: no config.json in it, so it holds no model")
    elif not _HUB_ID.fullmatch(plan.model.path):
        raise ModelFailure(f"{folder}: no such folder; name the model's folder with --model-path")


def load_tokenizer(plan: Plan) -> Any:
    """Return the tokenizer; a missing padding token is its end-of-sequence token. Raises `ModelFailure`."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            plan.model.path, revision=plan.model.revision, trust_remote_code=plan.model.trust_remote_code
        )
    except Exception as error:
        raise ModelFailure(f"{plan.model.path}: the tokenizer cannot be loaded: {_first_line(error)}") from error
    if plan.model.chat_template is not None:
        tokenizer.chat_template = _template_text(plan.model.chat_template)
    if tokenizer.eos_token_id is None:
        raise ModelFailure(f"{plan.model.path}: the tokenizer has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _template_text(template: str) -> str:
    """Return a chat template that is given as a file's path or as text."""
    if "{" in template:
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFailure(f"{template}: the chat template cannot be read: {error.strerror}") from error


def load_model(plan: Plan, device: str) -> Any:
    """Return the base model in evaluation-ready form on a device; raises `ModelFailure`.

    Only safetensors are read: a pickle can run code.
    """
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            plan.model.path,
            revision=plan.model.revision,
            trust_remote_code=plan.model.trust_remote_code,
            dtype=_dtype(plan.model.dtype),
            attn_implementation=_ATTENTION[plan.model.attention],
            quantization_config=_quantization(plan),
            use_safetensors=True,
            device_map={"": device} if plan.quantization.method != "none" else None,
        )
    except Exception as error:
        raise ModelFailure(f"{plan.model.path}: the model cannot be loaded: {_first_line(error)}") from error
    return model


def _quantization(plan: Plan) -> BitsAndBytesConfig | None:
    kind = plan.quantization.method
    if kind == "none":
        return None
    if kind == "int8":
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=plan.quantization.int8_threshold,
            llm_int8_skip_modules=list(plan.quantization.skip_modules) or None,
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=list(plan.quantization.skip_modules) or None,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=getattr(torch, plan.quantization.compute_dtype),
        bnb_4bit_use_double_quant=plan.quantization.double_quant,
        bnb_4bit_quant_storage=_storage(plan),
    )


def _storage(plan: Plan) -> Any:
    """Return the type that packed 4-bit weights are stored as: FSDP shards those of floating point alone."""
    return getattr(torch, plan.quantization.compute_dtype) if is_sharded(plan) else torch.uint8


def check_vocabulary(model: Any, tokenizer: Any) -> None:
    """Raise `ModelFailure` when the tokenizer has tokens that the model has no embedding for."""
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_embeddings:
        raise ModelFailure(f"the tokenizer has {len(tokenizer)} tokens, the model embeddings for {num_embeddings}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
