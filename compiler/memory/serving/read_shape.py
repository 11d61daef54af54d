"""Reads the shape of a served model from its `config.json`; what each layer is follows vLLM's model code (0.25.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kaitoc.compiler.catalog.architecture import ArchitectureError
from kaitoc.compiler.memory.serving.read_layer import LayerReader, integer, layer_kinds
from kaitoc.compiler.memory.serving.shape import ExpertShape, ServedModel

_NESTED = ("text_config", "llm_config")
_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "dim"),
    "num_heads": ("num_attention_heads", "n_head", "n_heads"),
    "vocab_size": ("vocab_size",),
    "num_layers": ("num_hidden_layers", "n_layer", "n_layers"),
}
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length", "seq_length")
_TIED = ("falcon", "gemma", "gemma2", "gemma3_text", "gemma4_text", "gpt2", "gpt_bigcode", "starcoder2")


def read_served_model(
    name: str, config: Mapping[str, object], *, max_length_tokens: int = 0, checkpoint_bytes: int | None = None
) -> ServedModel:
    """Return the shape of a model; `max_length_tokens` stands in for a config that states none.

    Raises `ArchitectureError` for a config that lacks a size.
    """
    text = _text_config(config)
    quantization = config.get("quantization_config") or text.get("quantization_config")
    sizes = {key: _required(name, text, keys) for key, keys in _NAMES.items()}
    num_heads = sizes["num_heads"]
    num_kv_heads = _num_kv_heads(text, num_heads)
    kinds = layer_kinds(text, sizes["num_layers"])
    reader = LayerReader(text, sizes["hidden_size"], num_heads, num_kv_heads)
    layers = tuple(reader.layer(index, kind, kinds) for index, kind in enumerate(kinds))
    model_type = str(text.get("model_type", ""))
    return ServedModel(
        name=name,
        model_type=model_type,
        hidden_size=sizes["hidden_size"],
        vocab_size=sizes["vocab_size"],
        max_length_tokens=_length(text) or max_length_tokens,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        tied_embeddings=_is_tied(config, text, model_type),
        layers=layers,
        experts=_experts(reader),
        quantization=_method(quantization),
        dtype=_dtype(config, text),
        is_multimodal=any(key in config for key in ("vision_config", "audio_config")),
        num_draft_layers=integer(text, "mtp_num_hidden_layers", "num_nextn_predict_layers"),
        checkpoint_bytes=checkpoint_bytes,
    )


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    for key in _NESTED:
        nested = config.get(key)
        if isinstance(nested, Mapping):
            return nested
    return config


def _required(name: str, config: Mapping[str, object], keys: Sequence[str]) -> int:
    for key in keys:
        value = integer(config, key)
        if value > 0:
            return value
    raise ArchitectureError(f"{name}: config.json has no `{keys[0]}`")


def _length(config: Mapping[str, object]) -> int:
    """Return the longest context that a config states, 0 where it states none."""
    return next((value for key in _LENGTHS if (value := integer(config, key)) > 0), 0)


def _num_kv_heads(config: Mapping[str, object], num_heads: int) -> int:
    model_type = config.get("model_type")
    if model_type == "falcon":
        if config.get("new_decoder_architecture"):
            return integer(config, "num_kv_heads") or num_heads
        return 1 if config.get("multi_query", True) else num_heads
    if model_type == "gpt_bigcode":
        return 1 if config.get("multi_query", True) else num_heads
    return integer(config, "num_key_value_heads") or integer(config, "n_kv_heads") or num_heads


def _is_tied(config: Mapping[str, object], text: Mapping[str, object], model_type: str) -> bool:
    stated = text.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return bool(stated) if stated is not None else model_type in _TIED


def _experts(reader: LayerReader) -> ExpertShape | None:
    if not reader.num_experts:
        return None
    return ExpertShape(reader.num_experts, reader.experts_per_token, reader.expert_size)


def _method(quantization: object) -> str:
    """Return the method of a checkpoint's `quantization_config`, by what its weights are stored in."""
    if not isinstance(quantization, Mapping):
        return ""
    method = str(quantization.get("quant_method", "")).lower()
    for read in (_compressed, _bitsandbytes):
        found = read(quantization, method)
        if found:
            return found
    return method


def _compressed(quantization: Mapping[str, object], method: str) -> str:
    """Map the bits and format stated by compressed-tensors and ModelOpt to a weight format."""
    shown = f"{method} {quantization.get('format', '')} {quantization.get('quant_algo', '')}".lower()
    if "nvfp4" in shown:
        return "nvfp4"
    if "float-quantized" in shown or "fp8" in shown:
        return "fp8"
    if "pack-quantized" in shown:
        return "int4-experts" if "attn" in str(quantization.get("ignore", "")) else "gptq"
    return "int8" if "int-quantized" in shown else ""


def _bitsandbytes(quantization: Mapping[str, object], method: str) -> str:
    if "bitsandbytes" not in method and not quantization.get("load_in_4bit"):
        return ""
    return "int8" if quantization.get("load_in_8bit") else "bitsandbytes"


def _dtype(config: Mapping[str, object], text: Mapping[str, object]) -> str:
    """Return the type that vLLM computes in: the checkpoint's, float32 read as float16 (`_get_and_verify_dtype`)."""
    readers: tuple[Callable[[], object], ...] = (
        lambda: config.get("torch_dtype"), lambda: config.get("dtype"),
        lambda: text.get("torch_dtype"), lambda: text.get("dtype"),
    )  # fmt: skip
    stated = next((value for read in readers if isinstance(value := read(), str)), "bfloat16")
    return stated.removeprefix("torch.") if stated in ("float16", "torch.float16") else "bfloat16"
