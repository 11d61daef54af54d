"""Record which types of values a release's vLLM refuses for the keys of a model's config in `hf-overrides`.

    python tests/oracle/serving/record_overrides.py v0.12 --wheel WHEEL --kaito KAITO --python PYTHON

takes what `record.py` takes and writes `refused_overrides` in `schemas/inference_config/options/RELEASE.json`. Each key
is asked with a value of every kind beside the shortest context, so that no length is too long for it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from record import recorded_chain

from kaitoc.schemas import ROOT

_KINDS = {"null": None, "boolean": True, "whole": 1, "zero": 0, "negative": -1, "fraction": 0.5,
          "whole fraction": 16.0, "text": "text", "digits": "1", "empty list": [], "list of numbers": [1],
          "list of texts": ["text"], "mapping": {}}  # fmt: skip
_KEYS = (
    "architectures", "attention_bias", "attention_dropout", "auto_map", "bos_token_id", "chunk_size_feed_forward",
    "dtype", "eos_token_id", "head_dim", "hidden_act", "hidden_size", "id2label", "initializer_range",
    "intermediate_size", "is_decoder", "is_encoder_decoder", "label2id", "layer_types", "max_length",
    "max_position_embeddings", "max_seq_len", "max_seq_length", "max_sequence_length", "max_target_positions",
    "mlp_bias", "model_max_length", "model_type", "n_positions", "n_routed_experts", "num_attention_heads",
    "num_experts", "num_hidden_layers", "num_key_value_heads", "num_labels", "num_local_experts",
    "original_max_position_embeddings", "output_hidden_states", "pad_token_id", "pretraining_tp", "problem_type",
    "quantization_config", "return_dict", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "seq_len",
    "seq_length", "sliding_window", "text_config", "tie_word_embeddings", "torch_dtype", "transformers_version",
    "use_cache", "vision_config", "vocab_size",
)  # fmt: skip
_LENGTHS = ("max_position_embeddings", "max_seq_len", "max_seq_length", "max_sequence_length", "max_target_positions",
            "model_max_length", "n_positions", "seq_len", "seq_length")  # fmt: skip


def text_of(key: str, value: object) -> str:
    """Return the text that overrides one key."""
    overrides = json.dumps({key: value})
    return f"vllm:\n  hf-overrides: '{overrides}'\n  max-model-len: 1\n"


def is_of_type(key: str, kind: str) -> bool:
    """Return whether a refusal is one of the type: neither of a name that vLLM lacks nor of a context of 0."""
    return not (key == "architectures" and kind == "list of texts") and not (
        key in _LENGTHS and kind in ("zero", "negative")
    )


def main() -> None:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release")
    for name in ("--wheel", "--kaito", "--python"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    asked = [(key, kind) for key in _KEYS for kind in _KINDS if is_of_type(key, kind)]
    texts = [text_of(key, _KINDS[kind]) for key, kind in asked]
    refused: dict[str, list[str]] = {}
    for (key, kind), record in zip(asked, recorded_chain(options, texts), strict=True):
        if "stage" in record:
            refused.setdefault(key, []).append(kind)
    write(Path(ROOT) / "inference_config" / "options" / f"{options.release}.json", refused)


def write(path: Path, refused: dict[str, list[str]]) -> None:
    """Replace the last entry of a release's table, a key a line."""
    text = path.read_text(encoding="utf-8")
    head = text[: text.index(',\n  "refused_overrides"')] if '"refused_overrides"' in text else text.rstrip()[:-2]
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(kinds)}" for key, kinds in sorted(refused.items()))
    path.write_text(f'{head},\n  "refused_overrides": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
